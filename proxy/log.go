package proxy

import (
	"time"

	"go.uber.org/zap"
)

// logAccess writes the line of a request. Query strings, tokens and signatures never are in it.
func (s *Server) logAccess(r *request, took time.Duration) {
	line := s.access.Check(zap.InfoLevel, "request")
	if line == nil {
		return
	}
	resp, req := r.Response(), r.Request()
	fields := []zap.Field{
		zap.String("method", req.Method),
		zap.String("route", r.Path()),
		zap.String("path", clipPath(req.URL.Path)),
		zap.String("view", r.view.Name),
		zap.Int("status", resp.Status),
		zap.Int64("bytes", resp.Size),
		zap.Duration("duration", took),
		zap.Stringer("remote", r.addr),
	}
	if r.from.source != "" {
		fields = append(fields, zap.String("member", r.from.source), zap.String("cache", string(r.from.state)))
	}
	if r.caller.Name != "" {
		fields = append(fields, zap.String("user", r.caller.Name))
	}
	if r.aborted {
		fields = append(fields, zap.Bool("aborted", true))
	}
	line.Write(fields...)
}

// clipPath bounds a path that a line of the log quotes.
func clipPath(path string) string {
	const most = 512
	if len(path) > most {
		return path[:most] + "…"
	}
	return path
}
