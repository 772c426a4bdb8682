package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

const defaultTimeout = 30 * time.Second

// Options describes one upstream. URL is the only field that must be set.
type Options struct {
	Name           string           // the member's name, in errors, logs and metrics
	URL            string           // http or https, may have a path; without credentials, query or fragment
	Protocol       string           // auto (or empty), v1, v2
	Username       string           // empty: anonymous
	Password       string           //
	CAFile         string           // PEM, in addition to the system's roots
	Timeout        time.Duration    // silence, not length; 0 = 30 s
	MaxConnections int              // questions at a time; 0 = 8, less than 2 counts as 2
	Log            *zap.Logger      // nil: none
	Metrics        *Metrics         // nil: none
	Now            func() time.Time // nil: time.Now
	Rand           func() float64   // for the length of pauses, in [0,1); nil: math/rand
	dial           dialFunc         // nil: the network; for tests
}

// Remote is one remote Conan server. It is safe for concurrent use.
type Remote struct {
	name       string
	configured *url.URL // as it was given
	base       *url.URL // without a slash at its end
	timeout    time.Duration
	log        *zap.Logger
	metrics    *Metrics
	now        func() time.Time
	rand       func() float64

	transport *http.Transport
	budget    *budget
	breaker   *breaker
	tokens    *tokens
	detector  detector
}

var _ conan.Remote = (*Remote)(nil)

// New makes a Remote. It asks nothing yet. Errors say which option is wrong, without the password.
func New(o Options) (*Remote, error) {
	configured, err := parseBase(o.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", o.Name, err)
	}
	if o.Username == "" && o.Password != "" {
		return nil, fmt.Errorf("upstream %q: a password without a username", o.Name)
	}
	base := *configured
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	r := &Remote{
		name:       o.Name,
		configured: configured,
		base:       &base,
		timeout:    o.Timeout,
		log:        o.Log,
		metrics:    o.Metrics,
		now:        o.Now,
		rand:       o.Rand,
	}
	r.setDefaults()
	r.budget = newBudget(o.MaxConnections)
	r.breaker = &breaker{now: r.now, changed: r.breakerChanged}
	r.tokens = &tokens{user: o.Username, password: o.Password, login: r.login, deadline: r.patience(), now: r.now}
	if r.transport, err = newTransport(r.base, o.CAFile, r.timeout, max(o.MaxConnections, defaultConnections), o.dial); err != nil {
		return nil, fmt.Errorf("upstream %q: %w", o.Name, err)
	}
	known, err := newFolders()
	if err != nil {
		return nil, err
	}
	r.detector.v1, r.detector.v2 = v1{Remote: r, known: known}, v2{r}
	switch o.Protocol {
	case "", "auto":
	case "v1":
		r.detector.fixed = r.detector.v1
	case "v2":
		r.detector.fixed = r.detector.v2
	default:
		return nil, fmt.Errorf("upstream %q: protocol %q is not auto, v1 or v2", o.Name, o.Protocol)
	}
	r.metrics.prime(r.name)
	return r, nil
}

func (r *Remote) setDefaults() {
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	r.log = r.log.With(zap.String("member", r.name))
	if r.now == nil {
		r.now = time.Now
	}
	if r.rand == nil {
		r.rand = rand.Float64
	}
}

// parseBase reads the URL of an upstream. The text is never part of an error: it may hold a password.
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

// patience is the deadline of what is asked on behalf of several callers: a login, a ping.
func (r *Remote) patience() time.Duration { return 2*r.timeout + queueDeadline }

// Name is the member's name.
func (r *Remote) Name() string { return r.name }

// State is the state of the circuit breaker.
func (r *Remote) State() State { return r.breaker.current() }

// MaxFiles is how many files can be open at a time; more opens queue, with a deadline.
func (r *Remote) MaxFiles() int { return r.budget.mostFiles }

// Close ends the idle connections. Transfers that are under way are not disturbed.
func (r *Remote) Close() { r.transport.CloseIdleConnections() }

// Latest implements conan.Remote.
func (r *Remote) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	list, err := r.list(ctx, rev, true)
	if err != nil {
		return conan.RevisionTime{}, r.about("newest revision", rev, err)
	}
	return list[0], nil
}

// Revisions implements conan.Remote. The order is upstream's.
func (r *Remote) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	list, err := r.list(ctx, rev, false)
	return list, r.about("revisions", rev, err)
}

func (r *Remote) list(ctx context.Context, rev conan.Revision, latestOnly bool) ([]conan.RevisionTime, error) {
	if rev.IsPackage() && rev.RRev == "" {
		return nil, fmt.Errorf("%w: no recipe revision is named", conan.ErrInvalid)
	}
	d, err := r.speak(ctx)
	if err != nil {
		return nil, err
	}
	return d.revisions(ctx, rev, latestOnly)
}

// Snapshot implements conan.Remote. On a server that speaks v1 only, md5 sums are known, and the
// mutable revision has a snapshot although it may have no manifest.
func (r *Remote) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	d, err := r.pinned(ctx, rev)
	if err != nil {
		return nil, r.about("files", rev, err)
	}
	list, err := d.snapshot(ctx, rev)
	return list, r.about("files", rev, err)
}

// Open implements conan.Remote. The body lives as long as ctx, continues by itself when the connection is
// cut, and holds one of the upstream's connections until its end or its Close. Size is -1 if upstream does not
// tell it. Read errors are ErrUnavailable or those of ctx.
func (r *Remote) Open(ctx context.Context, rev conan.Revision, name string) (*conan.Download, error) {
	d, err := r.pinned(ctx, rev)
	if err != nil {
		return nil, r.about(name, rev, err)
	}
	file, err := d.open(ctx, rev, name)
	return file, r.about(name, rev, err)
}

// Packages implements conan.Remote.
func (r *Remote) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	d, err := r.pinned(ctx, recipe.Recipe())
	if err != nil {
		return nil, r.about("packages", recipe, err)
	}
	list, err := d.packages(ctx, recipe, idsOnly)
	return list, r.about("packages", recipe, err)
}

// Search implements conan.Remote. References that are invalid are left out and counted.
func (r *Remote) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	d, err := r.speak(ctx)
	if err != nil {
		return nil, r.about("search", conan.Revision{}, err)
	}
	refs, err := r.search(ctx, d.searchPath(), p)
	return refs, r.about("search", conan.Revision{}, err)
}

// pinned is the dialect for a question that needs a pinned revision.
func (r *Remote) pinned(ctx context.Context, rev conan.Revision) (dialect, error) {
	if !rev.Pinned() {
		return nil, fmt.Errorf("%w: the revision is not named", conan.ErrInvalid)
	}
	return r.speak(ctx)
}

// about wraps an error with what was asked; nil stays nil.
func (r *Remote) about(what string, rev conan.Revision, err error) error {
	if err == nil {
		return nil
	}
	if !rev.Ref.IsZero() {
		what += " of " + rev.String()
	}
	return fmt.Errorf("%s: %w", what, r.outward(err))
}

// outward translates a failure into the shared vocabulary.
func (r *Remote) outward(err error) error {
	var f *failure
	switch {
	case err == nil:
		return nil
	case isNotFound(err):
		return fmt.Errorf("%w at upstream %q", conan.ErrNotFound, r.name)
	case errors.As(err, &f):
		return &conan.UnavailableError{Member: r.name, Reason: f.reason, RetryAfter: f.retryAfter, Err: f.err}
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
		r.detector.forget()
		r.log.Warn("upstream is not asked for a while", zap.String("reason", reason), zap.Duration("pause", wait))
	case Closed:
		r.log.Info("upstream answers again")
	}
}
