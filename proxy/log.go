package proxy

import (
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// logAccess writes the line of a request. Query strings, tokens and signatures never are in it.
func (s *Server) logAccess(r *request, took time.Duration) {
	line := s.access.Check(zap.InfoLevel, "request")
	if line == nil {
		return
	}
	resp := r.Response()
	fields := append(answerFields(r, resp.Status, resp.Size), requestFields(took, r.addr)...)
	if r.caller.Name != "" {
		fields = append(fields, zap.String("user", r.caller.Name))
	}
	if r.aborted {
		fields = append(fields, zap.Bool("aborted", true))
	}
	line.Write(fields...)
}

// answerFields are the same for every request with the same answer.
func answerFields(r *request, status int, size int64) []zap.Field {
	fields := []zap.Field{
		zap.String("method", r.Request().Method),
		zap.String("route", r.Path()),
		zap.String("path", clipPath(r.Request().URL.Path)),
		zap.String("view", r.view.Name),
		zap.Int("status", status),
		zap.Int64("bytes", size),
	}
	if r.from.source != "" {
		fields = append(fields, zap.String("member", r.from.source))
	}
	if r.from.state != "" {
		fields = append(fields, zap.String("cache", string(r.from.state)))
	}
	return fields
}

// requestFields are each request's own.
func requestFields(took time.Duration, addr netip.Addr) []zap.Field {
	return []zap.Field{zap.Duration("duration", took), zap.Stringer("remote", addr)}
}

// clipPath bounds a path that a line of the log quotes.
func clipPath(path string) string {
	const most = 512
	if len(path) > most {
		return path[:most] + "…"
	}
	return path
}
