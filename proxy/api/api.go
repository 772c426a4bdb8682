// Package api answers the operators' API, /api/v1: promotion, removal, the trash, retention, hides,
// purges, pins, imports, bundles, usage, the audit, robot tokens, jobs and the feed of changes. It
// knows no HTTP: the proxy finds the caller, decodes bodies and renders what a call returns.
package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/retention"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// Store is what the API changes.
type Store interface {
	// RemoveRevisions removes pinned revisions, a recipe with its packages, all or nothing. It
	// returns what went, or would in a dry run.
	RemoveRevisions(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Revision, error)
	// Restore brings revisions back from the trash, all or nothing, a recipe with the packages that
	// were removed with it. It returns what came back, or would in a dry run.
	Restore(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Revision, error)
	// TrashSource is what Restore can bring back.
	TrashSource() conan.Source
	// Erase removes pinned revisions for good, published or in the trash, a recipe with its
	// packages, all or nothing. It returns what went, or would in a dry run.
	Erase(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]index.Erased, error)
	// EverySource is what Erase can remove.
	EverySource() conan.Source
	// CheckDisk tells whether the disk has space for so many bytes more: nil or conan.ErrNoSpace.
	CheckDisk(ctx context.Context, bytes int64) error
	// Trash lists removed revisions, the last removed first, with an ID below before unless it is
	// 0.
	Trash(ctx context.Context, before int64, limit int) ([]index.Trashed, error)
}

// Stores are the stores in force.
type Stores interface {
	// Store finds a store by its name.
	Store(name string) (Store, bool)
	// Promotion is the sink that takes revisions of one store into another.
	Promotion(from, to string) (transfer.Sink, bool)
	// Retain removes what a store no longer needs by its rules, or in a dry run only decides. A
	// store without rules is conan.ErrInvalid, a second run at once conan.ErrConflict.
	Retain(ctx context.Context, store string, by conan.Actor, dry bool) ([]retention.Decision, error)
	// Keeps returns the reasons for which the retention of a store keeps a revision: one is told
	// when such a revision is removed by hand.
	Keeps(store string) func(conan.Revision) (reason string, keeps bool)
	// Import is the sink that takes what comes from outside into a store.
	Import(in transfer.Incoming, to string) (transfer.Sink, bool)
	// MayCome refuses a reference that comes from outside into a store if only other stores own its
	// name.
	MayCome(to string, ref conan.Ref) error
	// Remote is another server, at a URL that a caller names. The caller calls end.
	Remote(url, username, password string) (source conan.Source, end func(), err error)
	// OpenBundle begins to read a bundle and checks its signature by the keys in force.
	OpenBundle(r io.Reader) (*bundle.Reader, error)
}

// Audit is the trail of all changes.
type Audit interface {
	AuditLines(ctx context.Context, f index.AuditFilter) ([]index.AuditLine, error)
	// WriteAudit writes a line about what changes no row.
	WriteAudit(ctx context.Context, a index.Audit, now time.Time) error
}

// Usage counts what each member has.
type Usage interface {
	Usage(ctx context.Context) ([]index.Usage, error)
	TrashBytes(ctx context.Context, member index.MemberID) (int64, error)
	UsageOfParts(ctx context.Context, by index.UsageBy, limit int) ([]index.PartUsage, error)
	// Quota is the bound of the bytes of a store; 0: none.
	Quota(store index.MemberID) int64
}

// API answers calls.
type API struct {
	Stores  Stores
	Members Members
	Hides   Hides
	Audit   Audit
	Usage   Usage
	Tokens  Tokens
	Details Details
	Jobs    Jobs
	Feed    Feed
	Drain   <-chan struct{} // closed when the server ends: nothing waits any more; nil: never

	waiting waiting
}

// Call is one request by an identified caller.
type Call struct {
	Context context.Context
	Caller  auth.Caller
	Actor   conan.Actor
	Guard   *auth.Guard
	Query   url.Values
	Decode  func(v any) error // reads the JSON body; unknown fields are conan.ErrInvalid
	Body    io.Reader         // the body of a call that takes a stream

	// Source is what the caller may read of a store, upstream or view, or with an empty name of the
	// view at the root; false: there is none of that name.
	Source func(name string) (conan.Source, bool)

	// Whole is Source with what is hidden.
	Whole func(name string) (conan.Source, bool)

	// Readable is what the caller may read of a Source that is a part of a member.
	Readable func(member string, source conan.Source) (conan.Source, error)

	// Trace is Source that tells which member said what, as a client of one generation gets it, and
	// the names of the view's members, of which the caller may be allowed to read none. No view of
	// that name is conan.ErrInvalid.
	Trace func(view string, client conan.Generation) (trace *resolver.Trace, members []string, err error)

	// Refusal is the status and the text with which a client gets an error; without a text the
	// error is an internal one.
	Refusal func(error) (status int, text string)

	// IsMember tells whether a store or upstream has that name.
	IsMember func(name string) bool
	// ReadsSomewhere tells whether the caller may read a reference in some member.
	ReadsSomewhere func(ref conan.Ref) bool

	// Renew makes the call again for the same caller, who is looked up again, and by the settings
	// in force. It is auth.ErrLogin if the user or token is gone.
	Renew func() (*Call, error)
	// Job is told what the call does; nil: a request makes the call, and no job.
	Job Job
}

// Route is one call.
type Route struct {
	Method, Path string
	Handle       func(c *Call) (any, error) // what is returned is answered as JSON, but for a Stream
	MaxBody      int64                      // bytes; 0: there is no body; StreamBody: any number
}

// Stream is an answer that is made while it is sent.
type Stream struct {
	ContentType string
	Write       func(w io.Writer) error // an error ends the answer short
}

// StreamBody is the MaxBody of a call that reads Call.Body itself, once it knows that the caller
// may send it.
const StreamBody = -1

// Bounds of bodies, in bytes.
const (
	smallBody     = 64 << 10
	selectionBody = 64 << 20 // it may have a graph or a package list
)

// Routes lists every call. openapi.json describes them.
func (a *API) Routes() []Route {
	return []Route{
		{http.MethodGet, "/api/v1/openapi.json", a.openAPI, 0},
		{http.MethodPost, "/api/v1/promote", a.promote, selectionBody},
		{http.MethodPost, "/api/v1/remove", a.remove, selectionBody},
		{http.MethodPost, "/api/v1/restore", a.restore, selectionBody},
		{http.MethodGet, "/api/v1/trash", a.trash, 0},
		{http.MethodPost, "/api/v1/retention", a.retention, smallBody},
		{http.MethodPost, "/api/v1/hide", a.hide, selectionBody},
		{http.MethodPost, "/api/v1/unhide", a.unhide, smallBody},
		{http.MethodGet, "/api/v1/hides", a.hides, 0},
		{http.MethodPost, "/api/v1/purge", a.purge, selectionBody},
		{http.MethodPost, "/api/v1/pin", a.pin, selectionBody},
		{http.MethodPost, "/api/v1/unpin", a.unpin, selectionBody},
		{http.MethodGet, "/api/v1/pins", a.pins, 0},
		{http.MethodGet, "/api/v1/packages", a.references, 0},
		{http.MethodGet, "/api/v1/packages/revisions", a.revisions, 0},
		{http.MethodGet, "/api/v1/packages/binaries", a.binaries, 0},
		{http.MethodGet, "/api/v1/packages/files", a.files, 0},
		{http.MethodGet, "/api/v1/explain", a.explain, 0},
		{http.MethodPost, "/api/v1/import", a.importFrom, selectionBody},
		{http.MethodPost, "/api/v1/bundle/create", a.createBundle, selectionBody},
		{http.MethodPost, "/api/v1/bundle/apply", a.applyBundle, StreamBody},
		{http.MethodGet, "/api/v1/usage", a.usage, 0},
		{http.MethodGet, "/api/v1/audit", a.audit, 0},
		{http.MethodGet, "/api/v1/jobs", a.jobs, 0},
		{http.MethodGet, "/api/v1/jobs/show", a.showJob, 0},
		{http.MethodGet, "/api/v1/jobs/follow", a.followJob, 0},
		{http.MethodPost, "/api/v1/jobs/cancel", a.cancelJob, smallBody},
		{http.MethodGet, "/api/v1/changes", a.changes, 0},
		{http.MethodGet, "/api/v1/tokens", a.tokens, 0},
		{http.MethodPost, "/api/v1/tokens", a.createToken, smallBody},
		{http.MethodPost, "/api/v1/tokens/revoke", a.revokeToken, smallBody},
	}
}

//go:embed openapi.json
var document json.RawMessage

func (a *API) openAPI(*Call) (any, error) { return document, nil }

// store finds the store that a request names.
func (a *API) store(field, name string) (Store, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: %q is missing: the name of a store", conan.ErrInvalid, field)
	}
	s, ok := a.Stores.Store(name)
	if !ok {
		return nil, noStore(name)
	}
	return s, nil
}

// of asks for the Source of a store that was found. A reload between the two can have removed it.
func of(find func(string) (conan.Source, bool), store string) (conan.Source, error) {
	source, ok := find(store)
	if !ok {
		return nil, noStore(store)
	}
	return source, nil
}

func noStore(name string) error {
	return fmt.Errorf("%w: there is no store %.64q", conan.ErrInvalid, name)
}

// mayWrite tells whether the caller may write a reference in a store.
func (c *Call) mayWrite(store string) func(conan.Ref) error {
	return func(ref conan.Ref) error { return c.Guard.MayWrite(c.Caller, store, ref) }
}

// requireAdmin refuses callers that are no administrators.
func (c *Call) requireAdmin() error {
	switch {
	case c.Guard.IsAdmin(c.Caller):
		return nil
	case c.Caller.Anonymous():
		return fmt.Errorf("%w: this call is for administrators", auth.ErrLogin)
	}
	return fmt.Errorf("%w: this call is for administrators, see auth.admin", conan.ErrDenied)
}

// number reads a query argument from least to most; fallback if it is not given.
func (c *Call) number(name string, fallback, least, most int64) (int64, error) {
	if !c.Query.Has(name) {
		return fallback, nil
	}
	n, err := strconv.ParseInt(c.Query.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%w: %s is not a number from %d to %d", conan.ErrInvalid, name, least, most)
	}
	return n, nil
}

// moment reads a query argument: a time of RFC 3339, or a date, which is its beginning in UTC.
func (c *Call) moment(name string) (time.Time, error) {
	text := c.Query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %s is neither a date like 2026-01-31 nor a time like 2026-01-31T12:00:00Z", conan.ErrInvalid, name)
}
