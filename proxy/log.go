package proxy

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logAccess writes the line of a request.
func (s *Server) logAccess(r *request, took time.Duration) {
	if r.isProbe() && r.status < http.StatusBadRequest && !r.settings.logProbes {
		return
	}
	if line := s.access.Check(r.logLevel(), "request"); line != nil {
		line.Write(zap.Inline(accessLine{r, took}))
	}
}

// accessLine is what the access log says of a request. Tokens and signatures never are in it, and
// of the query only what a search asks for.
type accessLine struct {
	*request
	took time.Duration
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (r accessLine) MarshalLogObject(line zapcore.ObjectEncoder) error {
	optional := func(name, value string) {
		if value != "" {
			line.AddString(name, value)
		}
	}
	line.AddString("id", r.id)
	line.AddString("method", clipTo(r.req.Method, 16))
	line.AddString("route", r.route)
	line.AddString("path", printable(r.req.URL.Path))
	line.AddString("view", r.viewName())
	line.AddInt64("status", int64(r.status))
	line.AddInt64("bytes", r.size)
	line.AddDuration("duration", r.took)
	line.AddString("remote", r.addr.String())
	optional("member", r.origin.Member)
	optional("cache", string(r.origin.State))
	optional("stale_because", r.origin.Reason)
	optional("user", r.caller.Name)
	optional("agent", printable(r.req.UserAgent()))
	optional("search", printable(r.argument("q")))
	optional("reason", r.failure)
	if r.aborted {
		line.AddBool("aborted", true)
	}
	return nil
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
