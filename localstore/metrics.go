package localstore

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of all stores, by store.
type Metrics struct {
	published   *prometheus.CounterVec
	overwritten *prometheus.CounterVec
	adopted     *prometheus.CounterVec
	removed     *prometheus.CounterVec
	retired     *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "conanproxy", Subsystem: "store", Name: name, Help: help}, []string{"member"})
	}
	m := &Metrics{
		published:   counter("published_total", "Uploads that changed what readers see: recipe and package revisions."),
		overwritten: counter("overwritten_total", "Files of published revisions that uploads replaced."),
		adopted:     counter("adopted_total", "Recipes copied from an upstream for packages published here."),
		removed:     counter("removed_total", "Removals that clients asked for."),
		retired:     counter("retention_removed_total", "Recipe and package revisions that retention removed."),
	}
	if reg != nil {
		reg.MustRegister(m.published, m.overwritten, m.adopted, m.removed, m.retired)
	}
	return m
}

// prime shows every series of a store at zero, so that a first event is a visible step.
func (m *Metrics) prime(member string) {
	for _, c := range []*prometheus.CounterVec{m.published, m.overwritten, m.adopted, m.removed, m.retired} {
		c.WithLabelValues(member)
	}
}
