package conan

import (
	"context"
	"io"
)

// Source answers the reading questions of the protocol. It is implemented by a cache over one
// upstream (cache.Cache), by a store (localstore.Store), by rules over another Source
// (internal/policy) and by the resolver over members (proxy/resolver).
//
// Every method may be called concurrently, takes validated values and returns answers that the
// caller must not modify. Failures are those of errors.go: ErrNotFound only if absence is known,
// ErrUnavailable if it could not be told. The Origin of an Answer says where it came from and how
// long it may be remembered; ErrNotFound has one too.
type Source interface {
	// Latest returns the newest revision: of the recipe if rev.PackageID is empty, else the newest
	// PRev of that package id in the recipe revision rev.RRev, which must be named.
	Latest(ctx context.Context, rev Revision) (Answer[RevisionTime], error)

	// Revisions lists recipe revisions, or the package revisions of rev.PackageID in rev.RRev,
	// newest first. The list is never empty: none is ErrNotFound.
	Revisions(ctx context.Context, rev Revision) (Answer[[]RevisionTime], error)

	// Snapshot lists the files of a pinned revision. Sizes and digests may be unknown. A revision
	// without a manifest is ErrNotFound.
	Snapshot(ctx context.Context, rev Revision) (Answer[Snapshot], error)

	// Open opens one file of a pinned revision. A file that the snapshot lacks is ErrNotFound.
	Open(ctx context.Context, rev Revision, name string) (Answer[*File], error)

	// Packages lists the binaries of a recipe revision, which must be named, sorted by package id,
	// each by its newest PRev. A known recipe without binaries is an empty list, an unknown one
	// ErrNotFound. With idsOnly the entries may lack their Info.
	Packages(ctx context.Context, recipe Revision, idsOnly bool) (Answer[[]Package], error)

	// Search lists the references that match, sorted, without duplicates. No match is an empty
	// list, not an error.
	Search(ctx context.Context, p Pattern) (Answer[[]Ref], error)
}

// Remote answers the same questions for one remote server, as that server answers them: nothing is
// remembered, and no byte is verified. It is implemented by upstream.Remote; a cache stands in
// front of it. Questions and failures are those of Source.
type Remote interface {
	// Ping asks for a sign of life. nil means that the server answered.
	Ping(ctx context.Context) error

	// Latest returns what the server calls the newest revision.
	Latest(ctx context.Context, rev Revision) (RevisionTime, error)

	// Revisions lists revisions in the server's order.
	Revisions(ctx context.Context, rev Revision) ([]RevisionTime, error)

	// Snapshot lists the files of a pinned revision. A server that speaks v1 only may list files of
	// the mutable revision without a manifest.
	Snapshot(ctx context.Context, rev Revision) (Snapshot, error)

	// Open downloads one file of a pinned revision.
	Open(ctx context.Context, rev Revision, name string) (*Download, error)

	// Packages lists the binaries of a recipe revision.
	Packages(ctx context.Context, recipe Revision, idsOnly bool) ([]Package, error)

	// Search lists the references that match.
	Search(ctx context.Context, p Pattern) ([]Ref, error)
}

// Download is a file on its way from a remote server, unverified. The body lives as long as the
// context that it was opened with; the caller closes it.
type Download struct {
	FileInfo // as far as the server tells; Size -1 if it does not
	io.ReadCloser

	// Validator names the version of the bytes in the server's words (ETag, else Last-Modified);
	// empty if it gives none.
	Validator string
}

// Package is one binary of a recipe revision as package search shows it.
type Package struct {
	ID   string
	Info string // conaninfo.txt, byte for byte; may be empty
}

// Publisher takes uploads and deletes. It is implemented by localstore.Store only.
// Rights are checked by the caller; names are validated values.
type Publisher interface {
	// Stage declares the files of an upload (v1 upload_urls) with their sizes and returns
	// the id of a new stage, which takes exactly these files in any order and publishes
	// when the last one came. target has no RRev/PRev: they are computed from the manifest.
	// A package whose recipe is not known here nor upstream is ErrNotFound.
	Stage(ctx context.Context, target Revision, by Actor, sizes map[string]int64) (stage string, err error)

	// Put stores one file and publishes if it completes its set. ErrInvalid: length, digest or
	// content is wrong; ErrIncomplete: a manifest over an incomplete set; ErrConflict: the check
	// still runs, send again.
	Put(ctx context.Context, up Upload) error

	// Link is a checksum-deploy: it stores up without a body if bytes with the sha1 up.SHA1 are
	// held by a revision in a member that mayRead admits; else ErrNotFound.
	Link(ctx context.Context, up Upload, mayRead func(member string, ref Ref) bool) error

	// CheckSpace tells whether an upload of that many bytes would be taken now: nil, ErrNoSpace,
	// or ErrDenied above a quota.
	CheckSpace(ctx context.Context, size int64) error

	// RemoveFiles takes recipe files out of the newest revision by publishing a revision without
	// them (v1 remove_files). A name that is not there changes nothing; one that the manifest
	// implies is ErrInvalid.
	RemoveFiles(ctx context.Context, recipe Revision, by Actor, names []string) error

	// Remove deletes what r selects, all or nothing; ErrNotFound if a part of it is not there.
	Remove(ctx context.Context, r Removal) error
}

// Actor is a caller who changes something, as the audit names it.
type Actor struct {
	Name    string // of the user or token; empty for anonymous
	Address string // of the client
	Claim   Claim  // of the job that makes the change; zero: a request makes it
}

// Claim is a job and the fencing number of who runs it. Only the last claim of a job changes
// anything.
type Claim struct{ Job, Fence int64 }

// Upload is one PUT.
type Upload struct {
	Revision        // v2: pinned. v1: RRev (and PRev) empty or "0", to be computed
	Stage    string // of a declared set; empty otherwise
	Name     string // checked by CheckFileName
	By       Actor
	Size     int64  // bytes announced, -1 if chunked
	SHA1     string // X-Checksum-Sha1, lower-case hex, or empty
	Body     io.Reader
}

// Removal selects what to delete: a whole reference (only Ref), one recipe revision (RRev),
// one package revision (PRev), all revisions of a package id, or packages.
type Removal struct {
	Revision
	// PackageIDs deletes these package ids in the named recipe revision, or in every one if RRev is
	// empty. All or nothing: an unknown id is ErrNotFound and nothing is deleted.
	PackageIDs []string
	// AllPackages deletes every package of the named recipe revision, or of every one if RRev is
	// empty.
	AllPackages bool
	By          Actor
}

// Moved tells what became of one revision that was to be copied, removed or restored.
type Moved struct {
	Revision
	Skipped bool   // it was there already
	Problem string // why it was not moved, while others were; else empty
	Newest  bool   // it is the newest of its siblings where it came to
}
