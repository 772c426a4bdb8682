package identity

import "github.com/prometheus/client_golang/prometheus"

// Metrics count logins. Directories of successive settings share one.
type Metrics struct {
	logins        *prometheus.CounterVec
	refusedTokens prometheus.Counter
	usersFileOK   prometheus.Gauge
}

// The results of a login.
const (
	loginOK      = "ok"
	loginRefused = "refused"
	loginBusy    = "busy"
)

// NewMetrics makes the metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "conanproxy", Subsystem: "auth", Name: name, Help: help}
	}
	m := &Metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts(opts("logins_total",
			"Requests with a name and a password, by result: ok, refused (wrong), busy (not checked, too many at once).")), []string{"result"}),
		refusedTokens: prometheus.NewCounter(prometheus.CounterOpts(opts("refused_tokens_total",
			"Requests with a token that is broken, expired, or no longer its user's."))),
		usersFileOK: prometheus.NewGauge(prometheus.GaugeOpts(opts("users_file_ok",
			"1 if the htpasswd file can be read or none is configured, else 0."))),
	}
	for _, result := range []string{loginOK, loginRefused, loginBusy} {
		m.logins.WithLabelValues(result)
	}
	m.usersFileOK.Set(1)
	if reg != nil {
		reg.MustRegister(m.logins, m.refusedTokens, m.usersFileOK)
	}
	return m
}
