package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"conanproxy/internal/conan"
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

	mu    sync.RWMutex
	known map[seriesKey]*series
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
		known: make(map[seriesKey]*series),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.sent, m.received, m.answers, m.inFlight, m.refusedUploads} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("proxy: register metrics: %w", err)
		}
	}
	return m, nil
}

// seriesKey is the kind of a request: everything that is a label somewhere.
type seriesKey struct {
	route, method string
	status        int
	view          string
	cache         conan.CacheState
}

// series are what the requests of one kind add to.
type series struct {
	requests prometheus.Counter
	duration prometheus.Observer
	sent     prometheus.Counter
	answers  prometheus.Counter // nil: the answer has no origin
}

// count adds a request that has ended.
func (m *metrics) count(r *request, took time.Duration) {
	series := m.of(seriesKey{r.route, methodLabel(r.req.Method), r.status, r.viewLabel(), r.origin.State})
	series.requests.Inc()
	series.duration.Observe(took.Seconds())
	series.sent.Add(float64(r.size))
	if series.answers != nil {
		series.answers.Inc()
	}
	if isUpload(r.req) && r.req.ContentLength > 0 {
		m.received.Add(float64(r.req.ContentLength))
	}
}

// of finds the series of a kind of request. They are remembered, since finding them by their labels
// costs more than adding to them; there are few, since no label is a client's word.
func (m *metrics) of(key seriesKey) *series {
	m.mu.RLock()
	s := m.known[key]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	route := key.route
	if route == "" {
		route = "none"
	}
	s = &series{
		requests: m.requests.WithLabelValues(route, key.method, strconv.Itoa(key.status)),
		duration: m.duration.WithLabelValues(route, key.method),
		sent:     m.sent.WithLabelValues(route),
	}
	if key.cache != "" {
		s.answers = m.answers.WithLabelValues(key.view, string(key.cache))
	}
	m.mu.Lock()
	m.known[key] = s
	m.mu.Unlock()
	return s
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
