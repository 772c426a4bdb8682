package space

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the counters of a budget. Label values are names of upstreams.
type Metrics struct {
	evictedRevisions *prometheus.CounterVec
	evictedBytes     prometheus.Counter
	deletedBytes     prometheus.Counter
	stored           prometheus.Gauge
	pinned           prometheus.Gauge
	leased           prometheus.Gauge
	free             prometheus.Gauge
	maxSize          prometheus.Gauge
	minFree          prometheus.Gauge
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "conanproxy", Subsystem: "cache", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "conanproxy", Subsystem: "cache", Name: name, Help: help})
	}
	m := &Metrics{
		evictedRevisions: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "conanproxy", Subsystem: "cache",
			Name: "evicted_revisions_total", Help: "Cached revisions evicted to make room."}, []string{"member"}),
		evictedBytes: counter("evicted_bytes_total", "Bytes that only evicted revisions referred to."),
		deletedBytes: counter("unlinked_bytes_total", "Bytes of blobs deleted because no index entry refers to them any more."),
		stored:       gauge("stored_bytes", "Bytes of blobs that only caches refer to."),
		pinned:       gauge("pinned_bytes", "Those of them that are not evicted, since they are pinned."),
		leased:       gauge("reserved_bytes", "Bytes leased to downloads and uploads under way."),
		free:         gauge("free_bytes", "Bytes free on the disk."),
		maxSize:      gauge("max_size_bytes", "The limit cache.max_size; 0 is none."),
		minFree:      gauge("min_free_bytes", "The limit cache.min_free."),
	}
	if reg != nil {
		reg.MustRegister(m.evictedRevisions, m.evictedBytes, m.deletedBytes, m.stored, m.pinned, m.leased, m.free, m.maxSize, m.minFree)
	}
	return m
}

// Prime shows the series of an upstream at zero, so that a first eviction is a visible step.
func (m *Metrics) Prime(member string) { m.evictedRevisions.WithLabelValues(member) }
