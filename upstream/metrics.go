package upstream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts the answers of upstreams. One value is shared by all remotes; a nil *Metrics
// counts nothing.
type Metrics struct {
	answers *prometheus.CounterVec
	latency *prometheus.HistogramVec
	breaker *prometheus.GaugeVec
	resumes *prometheus.CounterVec
	dropped *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	good    *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them; reg may be nil. It panics if reg has
// them already, as prometheus does.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conanproxy_upstream_answers_total",
			Help: "Exchanges with an upstream by outcome.",
		}, []string{"member", "kind"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "conanproxy_upstream_latency_seconds",
			Help:    "Time from a question to the head of its answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"member"}),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conanproxy_upstream_breaker_state",
			Help: "State of the circuit breaker: 0 closed, 1 half-open, 2 open.",
		}, []string{"member"}),
		resumes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conanproxy_upstream_resumes_total",
			Help: "File transfers that were cut and continued.",
		}, []string{"member"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conanproxy_upstream_dropped_names_total",
			Help: "References, package ids and file names of an upstream that were left out because they are invalid.",
		}, []string{"member"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conanproxy_upstream_received_bytes_total",
			Help: "Bytes of answers received from an upstream and from where it redirects, without headers.",
		}, []string{"member"}),
		good: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "conanproxy_upstream_last_answer_timestamp_seconds",
			Help: "When an upstream last answered well, \"not found\" included, in Unix time; 0 if it never did.",
		}, []string{"member"}),
	}
	if reg != nil {
		reg.MustRegister(m.answers, m.latency, m.breaker, m.resumes, m.dropped, m.bytes, m.good)
	}
	return m
}

// prime makes every series of a member exist at zero.
func (m *Metrics) prime(member string) {
	if m == nil {
		return
	}
	for _, k := range kinds {
		m.answers.WithLabelValues(member, string(k))
	}
	m.latency.WithLabelValues(member)
	m.breaker.WithLabelValues(member).Set(float64(Closed))
	m.resumes.WithLabelValues(member)
	m.dropped.WithLabelValues(member)
	m.bytes.WithLabelValues(member)
	m.good.WithLabelValues(member)
}

func (m *Metrics) answered(member string, k kind) {
	if m != nil {
		m.answers.WithLabelValues(member, string(k)).Inc()
	}
}

func (m *Metrics) took(member string, d time.Duration) {
	if m != nil {
		m.latency.WithLabelValues(member).Observe(d.Seconds())
	}
}

func (m *Metrics) breakerIs(member string, s State) {
	if m != nil {
		m.breaker.WithLabelValues(member).Set(float64(s))
	}
}

func (m *Metrics) resumed(member string) {
	if m != nil {
		m.resumes.WithLabelValues(member).Inc()
	}
}

func (m *Metrics) droppedNames(member string, n int) {
	if m != nil {
		m.dropped.WithLabelValues(member).Add(float64(n))
	}
}

// received is a function that counts bytes of one member.
func (m *Metrics) received(member string) func(bytes int) {
	if m == nil {
		return func(int) {}
	}
	counter := m.bytes.WithLabelValues(member)
	return func(bytes int) { counter.Add(float64(bytes)) }
}

func (m *Metrics) goodAnswer(member string, at time.Time) {
	if m != nil {
		m.good.WithLabelValues(member).Set(float64(at.UnixMilli()) / 1000)
	}
}
