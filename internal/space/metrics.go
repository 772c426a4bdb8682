package space

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of a budget. Label values are names of members.
type Metrics struct {
	evictedRevisions *prometheus.CounterVec
	evictedBytes     prometheus.Counter
	deletedBytes     prometheus.Counter
	stored           prometheus.Gauge
	leased           prometheus.Gauge
	free             prometheus.Gauge
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "conanproxy", Subsystem: "cache", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(opts(name, help)))
	}
	m := &Metrics{
		evictedRevisions: prometheus.NewCounterVec(prometheus.CounterOpts(opts("evicted_revisions_total", "Revisions evicted to make room.")), []string{"member"}),
		evictedBytes:     counter("evicted_bytes_total", "Bytes that only evicted revisions named."),
		deletedBytes:     counter("unlinked_bytes_total", "Bytes of blobs deleted because no row names them any more."),
		stored:           gauge("stored_bytes", "Bytes of blobs that only upstreams name."),
		leased:           gauge("reserved_bytes", "Bytes leased for files that are being written."),
		free:             gauge("free_bytes", "Bytes free on the disk."),
	}
	if reg != nil {
		reg.MustRegister(m.evictedRevisions, m.evictedBytes, m.deletedBytes, m.stored, m.leased, m.free)
	}
	return m
}

// Prime shows the series of a member at zero, so that a first event is a visible step.
func (m *Metrics) Prime(member string) { m.evictedRevisions.WithLabelValues(member) }
