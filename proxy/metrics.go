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

	refusedUploads *prometheus.CounterVec
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
		refusedUploads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "refused_uploads_total",
			Help: "Uploads of files that were refused, by status; 404 answers a probe by checksum.",
		}, []string{"status"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.sent, m.received, m.answers, m.inFlight, m.refusedUploads} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("proxy: register metrics: %w", err)
		}
	}
	return m, nil
}

// count adds a request that has ended.
func (m *metrics) count(r *request, took time.Duration) {
	route, method := r.route, methodLabel(r.req.Method)
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(r.status)).Inc()
	m.duration.WithLabelValues(route, method).Observe(took.Seconds())
	m.sent.WithLabelValues(route).Add(float64(r.size))
	if r.origin.State != "" {
		m.answers.WithLabelValues(r.viewName(), string(r.origin.State)).Inc()
	}
	if isUpload(r.req) && r.req.ContentLength > 0 {
		m.received.Add(float64(r.req.ContentLength))
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
		handler.ServeHTTP(r, r.req)
		return nil
	}
}
