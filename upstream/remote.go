package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

const (
	defaultTimeout = 30 * time.Second
	// firstByteTimeout is less than the minute that Conan's client waits for an answer. Some
	// servers search for most of it.
	firstByteTimeout = 55 * time.Second
)

// Options describes one upstream. URL is the only field that must be set.
type Options struct {
	Name           string           // the member's name, in errors, logs and metrics
	URL            string           // http or https, may have a path; without credentials, query or fragment
	AlsoAt         []string         // URLs of further origins of the same server, which get the credentials too
	Protocol       string           // auto (or empty), v1, v2
	Username       string           // empty: anonymous
	Password       string           //
	CAFile         string           // PEM, in addition to the system's roots
	Timeout        time.Duration    // of silence, not of length; 0 = 30 s. From 30 s on, the first byte of an answer has at least 55 s
	MaxConnections int              // questions at a time; 0 = 8, less than 2 counts as 2
	AllowNetworks  []netip.Prefix   // that redirects and file URLs may point to, beside what package netguard allows
	OnlyAllowed    bool             // AllowNetworks and public addresses are all that URL itself may point to: a caller chose it
	Log            *zap.Logger      // nil: none
	Metrics        *Metrics         // nil: none
	Now            func() time.Time // nil: time.Now
	dial           dialFunc         // nil: the network; for tests
}

// Remote is one remote Conan server. It is safe for concurrent use.
type Remote struct {
	name       string
	configured *url.URL   // as it was given
	base       *url.URL   // without a slash at its end
	origins    []*url.URL // which get the credentials: base and Options.AlsoAt
	upgraded   atomic.Bool
	timeout    time.Duration
	firstByte  time.Duration
	log        *zap.Logger
	metrics    *Metrics
	now        func() time.Time

	transport *http.Transport
	budget    *budget
	breaker   *breaker
	tokens    *tokens
	folders   atomic.Pointer[folders] // of a v1 server
	detector  detector
	pages     pages
	tried     sync.Once
}

var _ conan.Remote = (*Remote)(nil)

// New makes a Remote. It asks nothing yet. Errors say which option is wrong, without the password.
func New(o Options) (*Remote, error) {
	r, err := newRemote(o)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", o.Name, err)
	}
	return r, nil
}

func newRemote(o Options) (*Remote, error) {
	r := &Remote{name: o.Name, timeout: o.Timeout, log: o.Log, metrics: o.Metrics, now: o.Now}
	r.setDefaults()
	if err := r.setOrigins(o); err != nil {
		return nil, err
	}
	if o.Username == "" && o.Password != "" {
		return nil, errors.New("a password without a username")
	}
	var err error
	if r.transport, err = newTransport(r.base, o, r.timeout, r.firstByte); err != nil {
		return nil, err
	}
	r.budget = newBudget(o.MaxConnections)
	r.breaker = &breaker{now: r.now, changed: r.breakerChanged}
	r.tokens = &tokens{user: o.Username, password: o.Password, login: r.login, deadline: r.sharedTimeout(), now: r.now}
	r.Forget()
	if err := r.detector.init(v1{r}, v2{r}, o.Protocol); err != nil {
		return nil, err
	}
	r.metrics.prime(r.name)
	return r, nil
}

func (r *Remote) setDefaults() {
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	r.firstByte = r.timeout
	if r.timeout >= defaultTimeout {
		r.firstByte = max(r.timeout, firstByteTimeout)
	}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	r.log = r.log.With(zap.String("member", r.name))
	if r.now == nil {
		r.now = time.Now
	}
}

func (r *Remote) setOrigins(o Options) error {
	var err error
	if r.configured, err = parseBase(o.URL); err != nil {
		return err
	}
	base := *r.configured
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	r.base, r.origins = &base, []*url.URL{&base}
	for _, raw := range o.AlsoAt {
		u, err := parseBase(raw)
		if err != nil {
			return fmt.Errorf("also_at: %w", err)
		}
		r.origins = append(r.origins, u)
	}
	return nil
}

// parseBase reads the URL of an upstream. The text is never part of an error: it may hold a
// password.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return nil, errors.New("its URL cannot be read")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("its URL is not http://… or https://…")
	case u.User != nil:
		return nil, errors.New("its URL holds credentials; use username and password instead")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("its URL has a query or a fragment")
	}
	return u, nil
}

// address makes a URL of the upstream: base, then an escaped path that begins with a slash.
func (r *Remote) address(path string, query url.Values) (*url.URL, error) {
	u, err := url.Parse(r.base.String() + path)
	if err != nil {
		return nil, badAnswer("has no URL for %q", clip(path))
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// sharedTimeout bounds the wait of several callers for one outcome: a login, a ping.
func (r *Remote) sharedTimeout() time.Duration { return 2*r.firstByte + queueDeadline }

// State is the state of the circuit breaker.
func (r *Remote) State() State { return r.breaker.current() }

// MaxFiles is how many files can be open at a time; more opens queue, with a deadline.
func (r *Remote) MaxFiles() int { return r.budget.mostFiles }

// Close ends the idle connections. Transfers that are under way are not disturbed.
func (r *Remote) Close() { r.transport.CloseIdleConnections() }

// Ping implements conan.Remote, by the question that finds the dialect unless it was answered
// before.
func (r *Remote) Ping(ctx context.Context) error {
	if r.detector.fixed {
		_, err := r.ping(ctx)
		return r.outcome(err)
	}
	_, err := r.dialect(ctx)
	return r.outcome(err)
}

// Latest implements conan.Remote.
func (r *Remote) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	list, err := r.list(ctx, rev, true)
	if err != nil {
		return conan.RevisionTime{}, r.outcome(err)
	}
	return list[0], nil
}

// Revisions implements conan.Remote. The order is upstream's.
func (r *Remote) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	list, err := r.list(ctx, rev, false)
	return list, r.outcome(err)
}

func (r *Remote) list(ctx context.Context, rev conan.Revision, latestOnly bool) ([]conan.RevisionTime, error) {
	if rev.IsPackage() && rev.RRev == "" {
		return nil, fmt.Errorf("%w: no recipe revision is named", conan.ErrInvalid)
	}
	return ask(ctx, r, func(d dialect) ([]conan.RevisionTime, error) { return d.revisions(ctx, rev, latestOnly) })
}

// Snapshot implements conan.Remote. On a server that speaks v1 only, md5 sums are known, and the
// mutable revision has a snapshot although it may have no manifest.
func (r *Remote) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	if !rev.Pinned() {
		return nil, errNotPinned
	}
	list, err := ask(ctx, r, func(d dialect) (conan.Snapshot, error) { return d.snapshot(ctx, rev) })
	return list, r.outcome(err)
}

// Open implements conan.Remote. The body continues by itself when the connection is cut, and holds
// one of the upstream's connections until its end or its Close. Read errors are ErrUnavailable or
// those of ctx.
func (r *Remote) Open(ctx context.Context, rev conan.Revision, name string) (*conan.Download, error) {
	if !rev.Pinned() {
		return nil, errNotPinned
	}
	file, err := ask(ctx, r, func(d dialect) (*conan.Download, error) { return d.open(ctx, rev, name) })
	return file, r.outcome(err)
}

// Packages implements conan.Remote.
func (r *Remote) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	if recipe.RRev == "" {
		return nil, errNotPinned
	}
	list, err := ask(ctx, r, func(d dialect) ([]conan.Package, error) { return d.packages(ctx, recipe.Recipe(), idsOnly) })
	return list, r.outcome(err)
}

// Search implements conan.Remote. References that are invalid are left out and counted.
func (r *Remote) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	refs, err := ask(ctx, r, func(d dialect) ([]conan.Ref, error) { return r.search(ctx, d.searchPath(), p) })
	if isNotFound(err) {
		return []conan.Ref{}, nil
	}
	return refs, r.outcome(err)
}

var errNotPinned = fmt.Errorf("%w: the revision is not named", conan.ErrInvalid)

// outcome translates a failure into the shared vocabulary; nil stays nil. The caller adds what was
// asked.
func (r *Remote) outcome(err error) error {
	var f *failure
	switch {
	case err == nil:
		return nil
	case isNotFound(err):
		return fmt.Errorf("%w at upstream %q", conan.ErrNotFound, r.name)
	case errors.As(err, &f):
		return &conan.UnavailableError{
			Member: r.name, Reason: f.reason, RetryAfter: f.retryAfter,
			Permanent: f.permanent, Refused: f.refused, Since: f.since, Err: f.err,
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &conan.UnavailableError{Member: r.name, Reason: "it did not answer in the time that was left", Err: err}
	}
	return err
}

// breakerChanged is called by the breaker under its lock.
func (r *Remote) breakerChanged(to State, reason string, wait time.Duration) {
	r.metrics.breakerIs(r.name, to)
	switch to {
	case Open:
		r.detector.reset()
		r.log.Warn("upstream is not asked for a while", zap.String("reason", reason), zap.Duration("pause", wait))
	case Closed:
		r.log.Info("upstream answers again")
	}
}

// logFirst tells once, after the first question, whether the upstream can be reached.
func (r *Remote) logFirst(err error) {
	if isCallerGone(err) {
		return
	}
	r.tried.Do(func() {
		var f *failure
		if errors.As(err, &f) && (f.isServerDown() || f.permanent) {
			r.log.Warn("upstream cannot be used", zap.Stringer("url", r.base), zap.String("reason", f.reason))
			return
		}
		r.log.Info("upstream is reachable", zap.Stringer("url", r.base))
	})
}

// count counts the outcome of one exchange.
func (r *Remote) count(err error) {
	var f *failure
	switch {
	case err == nil:
		r.metrics.answered(r.name, kindOK)
		r.pages.good()
	case errors.As(err, &f):
		r.metrics.answered(r.name, f.kind)
	default:
		return
	}
	if f == nil || f.kind == kindNotFound {
		r.metrics.goodAnswer(r.name, r.now())
	}
}
