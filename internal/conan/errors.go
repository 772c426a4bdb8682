package conan

import (
	"errors"
	"fmt"
	"time"
)

// The closed vocabulary of failures. They are always wrapped with the reference
// and tested with errors.Is; only proxy/errors.go knows their HTTP status.
var (
	// ErrNotFound: every place that could have it was asked and said no.
	ErrNotFound = errors.New("not found")
	// ErrNotFetched: it was not looked up (offline, excluded by a rule); not the same as absent.
	ErrNotFetched = errors.New("not fetched")
	// ErrUnavailable: it could not be told, because an upstream failed; see UnavailableError.
	ErrUnavailable = errors.New("unavailable")
	// ErrDenied: the caller may not.
	ErrDenied = errors.New("denied")
	// ErrInvalid: the input is wrong, and repeating it will not help.
	ErrInvalid = errors.New("invalid")
	// ErrIncomplete: a set of files is not complete yet; the text names what is missing.
	ErrIncomplete = errors.New("incomplete")
	// ErrConflict: it contradicts what is stored, or the same work is still under way: send again.
	ErrConflict = errors.New("conflict")
	// ErrNoSpace: min_free or the quota leaves no space for an upload.
	ErrNoSpace = errors.New("no space")
)

// ErrOverwrite is an ErrDenied whatever the caller's rights: the store does not replace what is
// published.
var ErrOverwrite = fmt.Errorf("%w", ErrDenied)

// IsAbsent tells "not found" from a failure: known to be absent, or not looked up because a rule
// or a setting says so.
func IsAbsent(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotFetched) }

// HiddenError says which member has a pinned revision that a rule keeps clients from getting. No
// other error of the vocabulary matches it: the revision is there, and asking again does not help.
type HiddenError struct {
	Member string // that has it
	Reason string // one sentence for the user of a client, without its end

	Hide  int64     // the number of the hide; 0: another rule hides it
	Until time.Time // when it becomes visible by itself; zero: not known, or never
}

func (e *HiddenError) Error() string { return fmt.Sprintf("hidden in %q: %s", e.Member, e.Reason) }

// UnavailableError says which member failed and why. It matches ErrUnavailable.
type UnavailableError struct {
	Member     string        // the upstream's name
	Reason     string        // one phrase, free of secrets and of URLs with credentials
	RetryAfter time.Duration // what the upstream asked for or the breaker knows; 0 = unknown

	// Permanent means that trying again soon cannot help: the upstream is not asked for a while,
	// is no Conan server, sent wrong bytes, or refused. Clients are told so instead of being sent
	// to try again.
	Permanent bool
	// Refused means that the upstream lives and refused this one thing. The refusal may be
	// remembered for that thing like "not found".
	Refused bool

	Since time.Time // when it began; zero: just now, or unknown

	Err error // the cause; may be nil
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("upstream %q is unavailable: %s", e.Member, e.Reason)
}

// Is makes errors.Is(err, ErrUnavailable) true.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }
