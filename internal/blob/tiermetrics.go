package blob

import "github.com/prometheus/client_golang/prometheus"

// TierMetrics are the counters of a disk tier.
type TierMetrics struct {
	hits    prometheus.Counter
	fills   *prometheus.CounterVec
	fetched prometheus.Counter
	trimmed prometheus.Counter
	stored  prometheus.Gauge
}

// NewTierMetrics makes the metrics and registers them with reg, unless that is nil.
func NewTierMetrics(reg prometheus.Registerer) *TierMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "conanproxy", Subsystem: "tier", Name: name, Help: help})
	}
	m := &TierMetrics{
		hits: counter("hits_total", "Files that were opened from the disk tier."),
		fills: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "conanproxy", Subsystem: "tier",
			Name: "fills_total", Help: "Copies from the bucket into the disk tier, by result."}, []string{"result"}),
		fetched: counter("fetched_bytes_total", "Bytes that were read from the bucket into the disk tier."),
		trimmed: counter("trimmed_bytes_total", "Bytes of copies that were removed from the disk tier to keep its bounds."),
		stored: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "conanproxy", Subsystem: "tier",
			Name: "stored_bytes", Help: "Bytes of copies in the disk tier."}),
	}
	for _, result := range []string{resultOf(nil), resultOf(ErrUnavailable)} {
		m.fills.WithLabelValues(result)
	}
	if reg != nil {
		reg.MustRegister(m.hits, m.fills, m.fetched, m.trimmed, m.stored)
	}
	return m
}

// resultOf names the result of a fill.
func resultOf(err error) string {
	if err != nil {
		return "failed"
	}
	return "stored"
}
