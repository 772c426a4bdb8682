package main

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"conanproxy/internal/scrub"
)

// newRegistry has the metrics of the process.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// serverMetrics are about the build, the settings in force and their reloads.
type serverMetrics struct {
	reloads    *prometheus.CounterVec
	successful prometheus.Gauge
	changed    prometheus.Gauge
	findings   *prometheus.CounterVec

	retentionFailures *prometheus.CounterVec
}

// newServerMetrics registers the metrics of a server whose first settings are in force.
func newServerMetrics(reg prometheus.Registerer, s *server) *serverMetrics {
	m := &serverMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "conanproxy_config_reloads_total", Help: "Reloads of the configuration by result.",
		}, []string{"result"}),
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conanproxy_config_last_reload_successful", Help: "1 if the last reload, or the start, was successful.",
		}),
		changed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "conanproxy_config_last_success_timestamp_seconds", Help: "When the settings in force were read.",
		}),
	}
	m.findings = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conanproxy_scrub_findings_total", Help: "Files that the background scrub found damaged or missing, by whether they were repaired.",
	}, []string{"kind", "repaired"})
	m.retentionFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "conanproxy_retention_failures_total", Help: "Daily retention runs of stores that failed.",
	}, []string{"member"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "conanproxy_build_info", Help: "1, with the version of the server and of Go.",
		ConstLabels: prometheus.Labels{"version": versionText(), "go": runtime.Version()},
	})
	reg.MustRegister(m.reloads, m.successful, m.changed, m.findings, m.retentionFailures, build, settingsCollector{s}, &usageCollector{index: s.index})
	build.Set(1)
	for _, result := range []string{"success", "failure"} {
		m.reloads.WithLabelValues(result)
	}
	for _, kind := range []scrub.Kind{scrub.Damaged, scrub.Missing} {
		for _, repaired := range []string{"false", "true"} {
			m.findings.WithLabelValues(string(kind), repaired)
		}
	}
	for _, st := range s.current.Load().stores {
		m.retentionFailures.WithLabelValues(st.config.Name)
	}
	m.successful.Set(1)
	m.changed.Set(seconds(time.Now()))
	return m
}

// reloaded counts a reload, which failed with err.
func (m *serverMetrics) reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("failure").Inc()
		m.successful.Set(0)
		return
	}
	m.reloads.WithLabelValues("success").Inc()
	m.successful.Set(1)
	m.changed.Set(seconds(time.Now()))
}

// found counts a finding of the scrub.
func (m *serverMetrics) found(f scrub.Finding) {
	m.findings.WithLabelValues(string(f.Kind), strconv.FormatBool(f.Healed)).Inc()
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// settingsCollector reports the settings in force.
type settingsCollector struct{ server *server }

var (
	configInfo = prometheus.NewDesc("conanproxy_config_info",
		"1, with a digest of the settings in force; passwords do not count.", []string{"digest"}, nil)
	restartNeeded = prometheus.NewDesc("conanproxy_config_restart_needed",
		"1 if the settings in force have values that only a restart applies.", nil, nil)
	certificateExpiry = prometheus.NewDesc("conanproxy_tls_certificate_expiry_timestamp_seconds",
		"When the certificate of the server expires; absent without TLS.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c settingsCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- configInfo
	descs <- restartNeeded
	descs <- certificateExpiry
}

// Collect implements prometheus.Collector.
func (c settingsCollector) Collect(metrics chan<- prometheus.Metric) {
	current := c.server.current.Load()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(configInfo, 1, current.config.Digest())
	needed := 0.0
	if len(needRestart(c.server.started, current.config)) > 0 {
		needed = 1
	}
	gauge(restartNeeded, needed)
	if cert := current.certificate; cert != nil && cert.Leaf != nil {
		gauge(certificateExpiry, seconds(cert.Leaf.NotAfter))
	}
}
