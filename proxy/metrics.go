package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics count requests by route template, never by path.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	sent     *prometheus.CounterVec
	received prometheus.Counter
	answers  *prometheus.CounterVec
	inFlight prometheus.Gauge
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	const namespace, subsystem = "conanproxy", "http"
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_total",
			Help: "Requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "request_duration_seconds",
			Help:    "Time from the head of a request to the end of its answer.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 300},
		}, []string{"route", "method"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "sent_bytes_total",
			Help: "Bytes of bodies that were sent, by route.",
		}, []string{"route"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "announced_upload_bytes_total",
			Help: "Bytes of uploads, as their requests announced them.",
		}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "answers_total",
			Help: "Answers by view and by how they came about: local, hit, miss or stale.",
		}, []string{"view", "cache"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_in_flight",
			Help: "Requests that are being answered now.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.sent, m.received, m.answers, m.inFlight} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("proxy: register metrics: %w", err)
		}
	}
	return m, nil
}

// count adds a request that has ended.
func (m *metrics) count(r *request, took time.Duration) {
	m.of(r, r.Response().Status).count(took, r.Response().Size)
	if isUpload(r.Request()) && r.Request().ContentLength > 0 {
		m.received.Add(float64(r.Request().ContentLength))
	}
}

// series are what one request adds to, found once.
type series struct {
	requests prometheus.Counter
	duration prometheus.Observer
	sent     prometheus.Counter
	answers  prometheus.Counter // nil: the answer has no origin
}

// of finds the series of a request that is answered with a status.
func (m *metrics) of(r *request, status int) series {
	route, method := r.Path(), methodLabel(r.Request().Method)
	if route == "" {
		route = "none"
	}
	s := series{
		requests: m.requests.WithLabelValues(route, method, strconv.Itoa(status)),
		duration: m.duration.WithLabelValues(route, method),
		sent:     m.sent.WithLabelValues(route),
	}
	if r.from.state != "" {
		s.answers = m.answers.WithLabelValues(r.view.Name, string(r.from.state))
	}
	return s
}

func (s series) count(took time.Duration, size int64) {
	s.requests.Inc()
	s.duration.Observe(took.Seconds())
	s.sent.Add(float64(size))
	if s.answers != nil {
		s.answers.Inc()
	}
}

// methodLabel keeps clients from inventing labels.
func methodLabel(method string) string {
	known := []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions}
	if slices.Contains(known, method) {
		return method
	}
	return "other"
}

// showMetrics serves everything in the registry, in Prometheus's text form.
func showMetrics(registry *prometheus.Registry) func(*request) error {
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return func(r *request) error {
		handler.ServeHTTP(r.writer(), r.Request())
		return nil
	}
}
