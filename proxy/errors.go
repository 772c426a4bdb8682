package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// refusal is an answer that a handler has decided itself.
type refusal struct {
	status     int
	text       string
	retryAfter time.Duration
}

func (e *refusal) Error() string { return e.text }

// refuse makes a refusal: a status and one sentence that says what is wrong and what to do.
func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// statusGone is logged for clients that left before their answer; nothing is sent.
const statusGone = 499

// judge is the only table from errors to statuses and texts. The text of an error without an
// entry is not for clients: it is empty.
func judge(err error) refusal {
	var decided *refusal
	var routing *echo.HTTPError
	var unavailable *conan.UnavailableError
	switch {
	case errors.As(err, &decided):
		return *decided
	case errors.As(err, &routing):
		return refusal{status: routing.Code, text: routingText(routing.Code)}
	case errors.Is(err, errLogin):
		return refusal{status: http.StatusUnauthorized, text: sentence(err)}
	case errors.Is(err, conan.ErrDenied):
		return refusal{status: http.StatusForbidden, text: sentence(err)}
	case errors.As(err, &unavailable):
		return refusal{status: http.StatusServiceUnavailable, text: sentence(err), retryAfter: retryAfter(unavailable.RetryAfter)}
	case errors.Is(err, conan.ErrUnavailable):
		return refusal{status: http.StatusServiceUnavailable, text: sentence(err), retryAfter: retryAfter(0)}
	case errors.Is(err, conan.ErrNotFound), errors.Is(err, conan.ErrNotFetched):
		return refusal{status: http.StatusNotFound, text: sentence(err)}
	case errors.Is(err, conan.ErrInvalid), errors.Is(err, conan.ErrIncomplete):
		return refusal{status: http.StatusBadRequest, text: sentence(err)}
	case errors.Is(err, conan.ErrConflict):
		return refusal{status: http.StatusConflict, text: sentence(err)}
	case errors.Is(err, conan.ErrNoSpace):
		return refusal{status: http.StatusRequestEntityTooLarge, text: sentence(err)}
	case errors.Is(err, context.Canceled):
		return refusal{status: statusGone}
	case errors.Is(err, context.DeadlineExceeded):
		return refusal{status: http.StatusServiceUnavailable, text: "the answer took too long; try again", retryAfter: retryAfter(0)}
	}
	return refusal{status: http.StatusInternalServerError}
}

func routingText(status int) string {
	switch status {
	case http.StatusNotFound:
		return "there is nothing at this path; the page at the root of this server lists its Conan remotes"
	case http.StatusMethodNotAllowed:
		return "this path does not take this method"
	}
	return strings.ToLower(http.StatusText(status))
}

// retryAfter is what clients are told to wait. They sleep that long with nothing on the screen, so it is short.
func retryAfter(known time.Duration) time.Duration {
	const usual, longest = 2 * time.Second, 10 * time.Second
	if known <= 0 {
		return usual
	}
	return min(max(known, time.Second), longest)
}

// fail answers an error. Errors that are nobody's fault outside are logged here, and only here.
func (s *Server) fail(r *request, err error) {
	verdict := judge(err)
	if verdict.status == statusGone && r.Request().Context().Err() == nil {
		verdict = refusal{status: http.StatusInternalServerError} // a context of our own ended, not the client's
	}
	if verdict.status == http.StatusInternalServerError {
		id := errorID()
		s.log.Error("request failed", zap.String("id", id), zap.String("route", r.Path()), zap.String("view", r.view.Name), zap.Error(err))
		verdict.text = "internal error " + id + ": the server's log says more"
	}
	if r.Response().Committed {
		r.abort()
	}
	if verdict.status == statusGone {
		r.Response().Status = statusGone
		return
	}
	if isUpload(r.Request()) {
		verdict = uploadVerdict(verdict)
	}
	r.drain()
	answer := verdict.document()
	var unavailable *conan.UnavailableError
	if errors.As(err, &unavailable) {
		answer.from = provenance{source: unavailable.Member} // not the members that were asked before it
	}
	r.send(answer)
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

// isUpload tells whether the request is the PUT of a file. (Nobody but a front end asks …/authorize.)
func isUpload(req *http.Request) bool {
	return req.Method == http.MethodPut && !strings.HasSuffix(req.URL.Path, "/authorize")
}

// uploadVerdict replaces statuses that must not answer an upload: after a 5xx, clients send
// the body again from where they stand, under the full Content-Length. A 409 they repeat cleanly.
func uploadVerdict(v refusal) refusal {
	if v.status >= http.StatusInternalServerError {
		v.status = http.StatusConflict
		v.text += "; send the file again"
	}
	v.retryAfter = 0
	return v
}

// document renders the refusal as one line of plain text.
func (v refusal) document() *document {
	d := &document{status: v.status, contentType: textType, body: []byte(v.text)}
	d.header = append(d.header, headerField{"Cache-Control", "no-store"})
	if v.retryAfter > 0 {
		seconds := int((v.retryAfter + time.Second - 1) / time.Second)
		d.header = append(d.header, headerField{"Retry-After", strconv.Itoa(seconds)})
	}
	return d
}

// drainLimit bounds what is read of a refused upload, so that the client is still listening when the refusal comes.
const drainLimit = 64 << 20

// drain reads what is left of the request's body, up to drainLimit and for no longer than silence.
func (r *request) drain() {
	req := r.Request()
	if r.stalled || req.Body == nil || req.Body == http.NoBody || req.Header.Get("Expect") != "" {
		return
	}
	control := http.NewResponseController(r.Response().Writer)
	_ = control.SetReadDeadline(time.Now().Add(silence))
	_, err := io.CopyN(io.Discard, req.Body, drainLimit) // a failure only means that nobody listens any more
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		_ = control.SetReadDeadline(time.Time{})
	}
}

// sentence is the text of an error as one line of bounded length.
func sentence(err error) string {
	const most = 1000
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// errorID links an answer to its line in the log.
func errorID() string {
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
