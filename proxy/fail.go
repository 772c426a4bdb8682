package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// fail answers an error. Internal errors are logged here, and only here.
func (s *Server) fail(r *request, err error) {
	refused := r.classify(err)
	if refused.status == http.StatusInternalServerError {
		s.log.Error("request failed", zap.String("id", r.id), zap.String("route", r.route), zap.String("view", r.viewName()), zap.Error(err))
		refused.text = "internal error " + r.id + ": the server's log says more"
	}
	if refused.status != http.StatusNotFound {
		r.failure = refused.text
	}
	if r.committed {
		r.abort()
	}
	if refused.status == statusGone {
		r.status = statusGone
		return
	}
	if isUpload(r.req) {
		refused = forUpload(refused)
		s.metrics.refusedUploads.WithLabelValues(strconv.Itoa(refused.status)).Inc()
	}
	early := r.streamed && r.begun
	if !early {
		r.drain()
	}
	var from conan.Origin
	var unavailable *conan.UnavailableError
	if errors.As(err, &unavailable) {
		from.Member = unavailable.Member
	}
	r.Header().Set("X-Request-Id", r.id)
	d := refused.document()
	if isAPICall(r.path) {
		d = refused.json()
	}
	r.send(d, from)
	if early {
		r.swallow()
	}
}

// recoverPanic answers a panic like an internal error, or ends a body that has begun.
func (s *Server) recoverPanic(r *request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		r.aborted = true
		panic(p)
	}
	s.log.Error("panic", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
	s.fail(r, fmt.Errorf("panic: %v", p))
}

// abort ends the response short of its Content-Length, so that no client takes it for whole.
func (r *request) abort() {
	r.aborted = true
	panic(http.ErrAbortHandler)
}

// isUpload tells whether the request is the PUT of a file. (Only front ends ask …/authorize.)
func isUpload(req *http.Request) bool {
	return req.Method == http.MethodPut && !strings.HasSuffix(req.URL.Path, "/authorize")
}

// forUpload replaces statuses that must not answer an upload: after a 5xx, clients send
// the body again from where they stand, under the full Content-Length. A 409 they repeat cleanly.
func forUpload(v refusal) refusal {
	if v.status >= http.StatusInternalServerError {
		v.status = http.StatusConflict
		v.text += "; send the file again"
	}
	v.retryAfter = 0
	return v
}

// json renders the refusal for the operators' API.
func (v refusal) json() *document {
	body, _ := json.Marshal(map[string]string{"error": v.text}) // a text is always JSON
	return newDocument(v.status, jsonType, body, v.header()...)
}

// document renders the refusal as one line of plain text.
func (v refusal) document() *document {
	return newDocument(v.status, textType, []byte(v.text), v.header()...)
}

func (v refusal) header() []headerField {
	header := []headerField{field("Cache-Control", "no-store")}
	if v.retryAfter > 0 {
		seconds := int((v.retryAfter + time.Second - 1) / time.Second)
		header = append(header, field("Retry-After", strconv.Itoa(seconds)))
	}
	return header
}
