package cache

import (
	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/conan"
)

// Metrics are the counters of all caches. Label values are member names and words of this file,
// never references.
type Metrics struct {
	answers       *prometheus.CounterVec
	fills         *prometheus.CounterVec
	fillsInFlight *prometheus.GaugeVec
	fillBytes     *prometheus.CounterVec

	searchesDropped *prometheus.CounterVec
}

// What became of a question, besides the states of conan.Origin.
const (
	resultNegative    = "negative"
	resultUnavailable = "unavailable"
)

// What became of a fill.
const (
	fillStored  = "stored"  // verified and kept
	fillPassed  = "passed"  // handed through, since there was no space
	fillRefused = "refused" // the bytes were wrong
	fillFailed  = "failed"  // upstream failed or ended early, or the bytes could not be stored
	fillStopped = "stopped" // every client left
)

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "conanproxy", Subsystem: "cache", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		answers: counter("answers_total", "Answers by upstream and result: hit, miss, stale, negative or unavailable.", "member", "result"),
		fills:   counter("fills_total", "Ended downloads by upstream and result: stored, passed, refused, failed or stopped.", "member", "result"),
		fillsInFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "conanproxy", Subsystem: "cache", Name: "fills_in_flight",
			Help: "Downloads under way or waiting for a slot."}, []string{"member"}),
		fillBytes: counter("fill_bytes_total", "Bytes downloaded.", "member"),
		searchesDropped: counter("searches_dropped_total",
			"Answers to searches dropped since there were too many or too large ones.", "member"),
	}
	if reg != nil {
		reg.MustRegister(m.answers, m.fills, m.fillsInFlight, m.fillBytes, m.searchesDropped)
	}
	return m
}

// prime shows every series of a member at zero, so that a first event is a visible step.
func (m *Metrics) prime(member string) {
	for _, r := range []string{string(conan.StateHit), string(conan.StateMiss), string(conan.StateStale), resultNegative, resultUnavailable} {
		m.answers.WithLabelValues(member, r)
	}
	for _, r := range []string{fillStored, fillPassed, fillRefused, fillFailed, fillStopped} {
		m.fills.WithLabelValues(member, r)
	}
	m.fillsInFlight.WithLabelValues(member)
	m.fillBytes.WithLabelValues(member)
	m.searchesDropped.WithLabelValues(member)
}

func (m *Metrics) answered(member, result string) {
	m.answers.WithLabelValues(member, result).Inc()
}
