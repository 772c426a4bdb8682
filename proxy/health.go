package proxy

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"go.uber.org/zap"
)

// healthz says that the process answers.
func (s *Server) healthz(r *request) error { return r.text(http.StatusOK, "ok") }

// readyz says whether index, disk and users file work. An upstream that is down does not make the
// server unready.
func (s *Server) readyz(r *request) error {
	const timeout = 5 * time.Second
	ctx, cancel := context.WithTimeout(r.ctx(), timeout)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.Warn("not ready", zap.Error(err))
		return refuse(http.StatusServiceUnavailable, "not ready: the server's log says why")
	}
	return r.text(http.StatusOK, "ready")
}

// showVersion says what runs.
func (s *Server) showVersion(r *request) error {
	return r.json(map[string]string{"version": s.version, "go": runtime.Version()})
}
