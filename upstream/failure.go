package upstream

import (
	"context"
	"errors"
	"time"

	"conanproxy/internal/conan"
)

// kind sorts what came of one question; it is the label of the answers metric.
type kind string

const (
	kindOK          kind = "ok"
	kindNotFound    kind = "not_found"
	kindDenied      kind = "denied"       // 401, 403, refused credentials
	kindThrottled   kind = "throttled"    // 429, or 503 with Retry-After
	kindServerError kind = "server_error" // other 5xx
	kindBadAnswer   kind = "bad_answer"   // HTML, wrong type, broken JSON, nonsense, other statuses
	kindTimeout     kind = "timeout"      // silence
	kindConnection  kind = "connection"   // no connection, or one that broke before the answer
	kindCut         kind = "cut"          // a body that ended short
	kindRefused     kind = "refused"      // not asked: the breaker is open, or no connection was free
)

// kinds lists all of them, for priming.
var kinds = []kind{kindOK, kindNotFound, kindDenied, kindThrottled, kindServerError, kindBadAnswer,
	kindTimeout, kindConnection, kindCut, kindRefused}

// failure is why a question has no answer. Inside the package every error is a *failure or
// the error of the caller's context.
type failure struct {
	kind       kind
	reason     string        // one phrase without secrets, shown to users
	retryAfter time.Duration // what upstream asked for, or the breaker knows; 0 = unknown
	transient  bool          // asking again soon may help
	harmless   bool          // upstream as a whole is well: it does not count for the breaker
	err        error         // the cause, may be nil
}

func (f *failure) Error() string { return f.reason }

func (f *failure) Unwrap() error { return f.err }

// Is makes a clean "not found" match conan.ErrNotFound.
func (f *failure) Is(target error) bool {
	return target == conan.ErrNotFound && f.kind == kindNotFound
}

var errNotThere = &failure{kind: kindNotFound, reason: "not found"}

// nonsense is a well-formed answer whose content cannot be used.
func nonsense(reason string) *failure {
	return &failure{kind: kindBadAnswer, reason: reason, harmless: true}
}

// isNotFound tells a clean "not found".
func isNotFound(err error) bool { return errors.Is(err, conan.ErrNotFound) }

// callerGone tells that an error is the end of the caller's own context.
func callerGone(err error) bool {
	var f *failure
	return !errors.As(err, &f) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}
