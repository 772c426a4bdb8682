package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// refusal is an answer that a handler has decided itself.
type refusal struct {
	status     int
	text       string
	retryAfter time.Duration
}

func (e *refusal) Error() string { return e.text }

// refuse makes a refusal: a status and one sentence with the fault and the remedy.
func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

const (
	// statusGone is logged for clients that left before their answer; nothing is sent.
	statusGone = 499
	// statusShown is for failures that trying again soon does not mend. Both generations of clients
	// show its text at once and never take it for "not found"; of a 503 they show only the number.
	statusShown = http.StatusFailedDependency
)

// classify is the only table from errors to statuses and texts; docs/troubleshooting.md has it for
// users. The text of an error without an entry is not for clients: it is empty.
func (r *request) classify(err error) refusal {
	var decided *refusal
	var routing *echo.HTTPError
	var unavailable *conan.UnavailableError
	var hidden *conan.HiddenError
	switch {
	case errors.As(err, &decided):
		return *decided
	case errors.As(err, &routing):
		return refusal{status: routing.Code, text: routingText(routing.Code)}
	case errors.Is(err, auth.ErrLogin) && !r.loginHelps():
		return refusal{status: statusShown, text: "no users are configured on this server, so no login can help; its administrator adds them with `conanproxy user add`"}
	case errors.Is(err, auth.ErrLogin):
		return refusal{status: http.StatusUnauthorized, text: sentence(err)}
	case errors.Is(err, identity.ErrBusy):
		return refusal{status: http.StatusServiceUnavailable, text: sentence(err), retryAfter: time.Second}
	case errors.Is(err, api.ErrTooMany):
		return refusal{status: http.StatusTooManyRequests, text: sentence(err), retryAfter: retryAfter(0)}
	case errors.Is(err, api.ErrGone):
		return refusal{status: http.StatusGone, text: sentence(err)}
	case errors.Is(err, conan.ErrNoSpace):
		return r.refusedUpload(noSpaceText(err))
	case errors.Is(err, conan.ErrOverwrite):
		return r.refusedUpload(sentence(err))
	case errors.Is(err, conan.ErrDenied):
		return refusal{status: http.StatusForbidden, text: sentence(err)}
	case errors.As(err, &hidden):
		return refusal{status: statusShown, text: sentence(err)}
	case errors.As(err, &unavailable):
		return classifyUnavailable(err, unavailable)
	case errors.Is(err, conan.ErrUnavailable):
		return refusal{status: http.StatusServiceUnavailable, text: sentence(err), retryAfter: retryAfter(0)}
	case conan.IsAbsent(err):
		return refusal{status: http.StatusNotFound, text: r.notFoundText(err)}
	case errors.Is(err, conan.ErrInvalid), errors.Is(err, conan.ErrIncomplete):
		return refusal{status: http.StatusBadRequest, text: sentence(err)}
	case errors.Is(err, conan.ErrConflict):
		return refusal{status: http.StatusConflict, text: sentence(err)}
	case errors.Is(err, context.Canceled) && r.ctx().Err() != nil:
		return refusal{status: statusGone}
	case errors.Is(err, context.DeadlineExceeded):
		return refusal{status: http.StatusServiceUnavailable, text: "the answer took too long; try again", retryAfter: retryAfter(0)}
	}
	return refusal{status: http.StatusInternalServerError}
}

// classifyUnavailable lets clients try again while that can help, and else shows them why it
// cannot.
func classifyUnavailable(err error, u *conan.UnavailableError) refusal {
	switch {
	case u.Refused:
		return refusal{status: statusShown, text: sentence(err) + "; the upstream itself refuses this, so its administrator has to allow it"}
	case u.Permanent:
		return refusal{status: statusShown, text: sentence(err) + "; trying again at once does not help: packages that are not stored here cannot be fetched until this is mended"}
	}
	return refusal{status: http.StatusServiceUnavailable, text: sentence(err), retryAfter: retryAfter(u.RetryAfter)}
}

// notFoundText is the sentence of conan_server, which clients and scripts look for, followed by our
// own.
func (r *request) notFoundText(err error) string {
	switch {
	case r.rev.Ref.IsZero():
		return sentence(err)
	case r.rev.IsPackage():
		return fmt.Sprintf("Binary package not found: '%s' (%s)", r.rev, sentence(err))
	}
	return fmt.Sprintf("Recipe not found: '%s' (%s)", r.rev, sentence(err))
}

// refusedUpload refuses an upload that the caller has the right to make. Conan 2 stops the whole
// upload at a 403; Conan 1 hides the text of a 403.
func (r *request) refusedUpload(text string) refusal {
	if r.generation == conan.Conan1 {
		return refusal{status: http.StatusBadRequest, text: text}
	}
	return refusal{status: http.StatusForbidden, text: text}
}

func noSpaceText(err error) string {
	return sentence(err) + "; the server's administrator has to make room"
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

// retryAfter is how long clients are told to wait. They show nothing meanwhile, so it is short.
func retryAfter(known time.Duration) time.Duration {
	const usual, longest = 2 * time.Second, 10 * time.Second
	if known <= 0 {
		return usual
	}
	return min(max(known, time.Second), longest)
}

// sentence is the text of an error as one printable line of bounded length.
func sentence(err error) string {
	const most = 1000
	return onlyPrintable(clipTo(strings.Join(strings.Fields(err.Error()), " "), most))
}
