package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// kind sorts the outcomes of questions; it is the label of the answers metric.
type kind string

const (
	kindOK          kind = "ok"
	kindNotFound    kind = "not_found"
	kindDenied      kind = "denied"       // 401, refused credentials, and other 4xx about one thing
	kindThrottled   kind = "throttled"    // 429, or 503 with Retry-After
	kindServerError kind = "server_error" // other 5xx; those about one thing are refusals
	kindBadAnswer   kind = "bad_answer"   // wrong type, broken JSON, other statuses
	kindForeign     kind = "foreign"      // a web page: to sign in, of a firewall, or in the place of one file
	kindTimeout     kind = "timeout"      // silence
	kindConnection  kind = "connection"   // no connection, or one that broke before the answer
	kindCut         kind = "cut"          // a body that ended short
	kindRefused     kind = "refused"      // not asked: the breaker is open, or no connection was free
)

// kinds lists all of them, for priming.
var kinds = []kind{kindOK, kindNotFound, kindDenied, kindThrottled, kindServerError, kindBadAnswer,
	kindForeign, kindTimeout, kindConnection, kindCut, kindRefused}

// failure is why a question has no answer. Inside the package every error is a *failure or
// the error of the caller's context.
type failure struct {
	kind       kind
	reason     string        // one phrase without secrets, shown to users
	retryAfter time.Duration // that upstream asked for, or that the breaker knows; 0 = unknown
	transient  bool          // another attempt within the question may help
	permanent  bool          // see conan.UnavailableError
	refused    bool          // see conan.UnavailableError
	since      time.Time     // see conan.UnavailableError
	err        error         // the cause, may be nil
}

func (f *failure) Error() string { return f.reason }

func (f *failure) Unwrap() error { return f.err }

// Is makes a clean "not found" match conan.ErrNotFound.
func (f *failure) Is(target error) bool {
	return target == conan.ErrNotFound && f.kind == kindNotFound
}

// isServerDown tells the failures that say that the server is gone or overloaded. All others are
// answers about one thing, and show that it lives.
func (f *failure) isServerDown() bool {
	switch f.kind {
	case kindThrottled, kindServerError, kindForeign, kindTimeout, kindConnection, kindCut:
		return !f.refused
	}
	return false
}

var errNotThere = &failure{kind: kindNotFound, reason: "not found"}

// badAnswer is an answer that cannot be used.
func badAnswer(format string, args ...any) *failure {
	return &failure{kind: kindBadAnswer, reason: fmt.Sprintf(format, args...)}
}

// foreign is an answer that no Conan server gives where it was given.
func foreign(format string, args ...any) *failure {
	return &failure{kind: kindForeign, reason: fmt.Sprintf(format, args...)}
}

// isNotFound tells a clean "not found".
func isNotFound(err error) bool { return errors.Is(err, conan.ErrNotFound) }

// isCallerGone tells that an error is the end of the caller's own context.
func isCallerGone(err error) bool {
	var f *failure
	return !errors.As(err, &f) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}
