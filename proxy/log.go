package proxy

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logAccess writes the line of a request. Tokens and signatures never are in it, and of the query
// only what a search asks for.
func (s *Server) logAccess(r *request, took time.Duration) {
	if r.isProbe() && r.status < http.StatusBadRequest && !r.settings.logProbes {
		return
	}
	line := s.access.Check(r.logLevel(), "request")
	if line == nil {
		return
	}
	fields := make([]zap.Field, 0, 18)
	fields = append(fields,
		zap.String("id", r.id),
		zap.String("method", clipTo(r.req.Method, 16)),
		zap.String("route", r.route),
		zap.String("path", printable(r.req.URL.Path)),
		zap.String("view", r.viewName()),
		zap.Int("status", r.status),
		zap.Int64("bytes", r.size),
		zap.Duration("duration", took),
		zap.Stringer("remote", r.addr),
	)
	optional := func(name, value string) {
		if value != "" {
			fields = append(fields, zap.String(name, value))
		}
	}
	optional("member", r.origin.Member)
	optional("cache", string(r.origin.State))
	optional("stale_because", r.origin.Reason)
	optional("user", r.caller.Name)
	optional("agent", printable(r.req.UserAgent()))
	optional("search", printable(r.argument("q")))
	optional("reason", r.failure)
	if r.aborted {
		fields = append(fields, zap.Bool("aborted", true))
	}
	line.Write(fields...)
}

// isProbe tells the requests that monitoring repeats without end.
func (r *request) isProbe() bool {
	return r.route == "/healthz" || r.route == "/readyz" || r.route == "/metrics"
}

// logLevel makes writes that were refused and answers that failed stand out. A 404 to a probe
// by checksum, and a 401 that asks for a login, are usual.
func (r *request) logLevel() zapcore.Level {
	usual := r.status == http.StatusUnauthorized || r.status == http.StatusNotFound
	isRead := r.req.Method == http.MethodGet || r.req.Method == http.MethodHead
	switch {
	case r.status < http.StatusBadRequest, usual, isRead && r.status < statusShown, r.status == statusGone:
		return zap.InfoLevel
	}
	return zap.WarnLevel
}
