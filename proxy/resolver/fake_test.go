package resolver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/policy"
)

// fakeMember is a Source with scripted content that counts what it is asked.
//
// Content is written as one would read it: "zlib/1.3#r2@20" is a recipe revision of the time
// 20, "zlib/1.3#r2:p1#x1@21" a package revision of the time 21. A "!" at the end makes its
// file list incomplete, a "*" marks what the local store adopted.
type fakeMember struct {
	t     *testing.T
	name  string
	items []fakeItem

	mu    sync.Mutex
	err   error            // every question fails
	errOn map[string]error // by method
	delay time.Duration    // before every answer
	calls []string
}

// threeFakes makes a store and two upstreams, which may be down.
func threeFakes(t *testing.T, inLocal, inA, inB []string, aDown, bDown bool) (local, a, b *fakeMember) {
	t.Helper()
	local, a, b = newFake(t, localName, inLocal...), newFake(t, "a", inA...), newFake(t, "b", inB...)
	if aDown {
		a.set(down("a"))
	}
	if bDown {
		b.set(down("b"))
	}
	return local, a, b
}

type fakeItem struct {
	rev     conan.Revision
	time    time.Time
	partial bool
	adopted bool
}

func newFake(t *testing.T, name string, items ...string) *fakeMember {
	t.Helper()
	f := &fakeMember{t: t, name: name, errOn: map[string]error{}}
	for _, text := range items {
		f.add(text)
	}
	return f
}

func (f *fakeMember) add(text string) {
	f.t.Helper()
	item := fakeItem{partial: strings.Contains(text, "!"), adopted: strings.Contains(text, "*")}
	text = strings.TrimRight(text, "!*")
	at := strings.LastIndex(text, "@")
	var seconds int64
	if _, err := fmt.Sscan(text[at+1:], &seconds); err != nil {
		f.t.Fatalf("item %q has no time", text)
	}
	item.rev = mustRevision(f.t, text[:at])
	item.time = time.Unix(seconds, 0).UTC()
	f.mu.Lock()
	f.items = append(f.items, item)
	f.mu.Unlock()
}

func (f *fakeMember) clear() {
	f.mu.Lock()
	f.items = nil
	f.mu.Unlock()
}

// mustRevision parses ref[#rrev[:package[#prev]]].
func mustRevision(t *testing.T, text string) conan.Revision {
	t.Helper()
	recipe, pkg, _ := strings.Cut(text, ":")
	refText, rrev, _ := strings.Cut(recipe, "#")
	id, prev, _ := strings.Cut(pkg, "#")
	rev, err := conan.NewRevision(mustRef(t, refText), rrev, id, prev)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func mustRef(t *testing.T, text string) conan.Ref {
	t.Helper()
	ref, err := conan.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func down(name string) error {
	return &conan.UnavailableError{Member: name, Reason: "connection refused"}
}

// ask counts a question and tells how it fails, if it does.
func (f *fakeMember) ask(ctx context.Context, method string, what fmt.Stringer) error {
	f.mu.Lock()
	f.calls = append(f.calls, method+" "+what.String())
	err, delay := f.err, f.delay
	if err == nil {
		err = f.errOn[method]
	}
	f.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return fmt.Errorf("asking %s: %w", f.name, ctx.Err())
		}
	}
	return err
}

// said makes a member's answer.
func said[T any](f *fakeMember, value T, err error) (conan.Answer[T], error) {
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return conan.Answer[T]{}, err
	}
	return conan.Answer[T]{Value: value, Origin: conan.Origin{Member: f.name, State: f.state(), Expires: conan.Forever}}, err
}

func (f *fakeMember) state() conan.CacheState {
	if f.name == localName {
		return conan.StateLocal
	}
	return conan.StateHit
}

func (f *fakeMember) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *fakeMember) set(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
}

// list returns the node's revisions, newest first.
func (f *fakeMember) list(node conan.Revision) []conan.RevisionTime {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []conan.RevisionTime
	for _, item := range f.items {
		if item.rev.With("") == node.With("") {
			list = append(list, conan.RevisionTime{ID: item.rev.ID(), Time: item.time})
		}
	}
	slices.SortStableFunc(list, func(a, b conan.RevisionTime) int { return b.Time.Compare(a.Time) })
	return list
}

func (f *fakeMember) find(rev conan.Revision) (fakeItem, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, item := range f.items {
		if item.rev == rev {
			return item, true
		}
	}
	return fakeItem{}, false
}

func (f *fakeMember) latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	if err := f.ask(ctx, "Latest", rev); err != nil {
		return conan.RevisionTime{}, err
	}
	list := f.list(rev)
	if len(list) == 0 {
		return conan.RevisionTime{}, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	return list[0], nil
}

func (f *fakeMember) revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	if err := f.ask(ctx, "Revisions", rev); err != nil {
		return nil, err
	}
	list := f.list(rev)
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	return list, nil
}

func (f *fakeMember) snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	if err := f.ask(ctx, "Snapshot", rev); err != nil {
		return nil, err
	}
	item, ok := f.find(rev)
	if !ok {
		return nil, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	files := []string{conan.ManifestFile}
	switch {
	case item.partial:
	case rev.IsPackage():
		files = []string{"conan_package.tgz", conan.InfoFile, conan.ManifestFile}
	default:
		files = []string{conan.RecipeFile, conan.ManifestFile}
	}
	var s conan.Snapshot
	for _, name := range files {
		s = append(s, conan.FileInfo{Name: name, Size: -1, MD5: f.name}) // the digest tells whose list it is
	}
	s.Sort()
	return s, nil
}

func (f *fakeMember) open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	if err := f.ask(ctx, "Open", rev); err != nil {
		return nil, err
	}
	_, ok := f.find(rev)
	if !ok || name == "metadata/none" {
		return nil, fmt.Errorf("%s of %s: %w", name, rev, conan.ErrNotFound)
	}
	return &conan.File{FileInfo: conan.FileInfo{Name: name}, ReadCloser: io.NopCloser(strings.NewReader(f.name))}, nil
}

func (f *fakeMember) packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	if err := f.ask(ctx, "Packages", recipe); err != nil {
		return nil, err
	}
	if _, ok := f.find(recipe); !ok {
		return nil, fmt.Errorf("%s: %w", recipe, conan.ErrNotFound)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	packages := []conan.Package{}
	for _, item := range f.items {
		if item.rev.IsPackage() && item.rev.Recipe() == recipe {
			packages = append(packages, conan.Package{ID: item.rev.PackageID, Info: f.name})
		}
	}
	slices.SortFunc(packages, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(packages, func(a, b conan.Package) bool { return a.ID == b.ID }), nil
}

func (f *fakeMember) search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	if err := f.ask(ctx, "Search", p); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	found := []conan.Ref{}
	for _, item := range f.items {
		if p.Match(item.rev.Ref) && !slices.Contains(found, item.rev.Ref) {
			found = append(found, item.rev.Ref)
		}
	}
	return found, nil
}

func (f *fakeMember) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	v, err := f.latest(ctx, rev)
	return said(f, v, err)
}

func (f *fakeMember) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	v, err := f.revisions(ctx, rev)
	return said(f, v, err)
}

func (f *fakeMember) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	v, err := f.snapshot(ctx, rev)
	return said(f, v, err)
}

func (f *fakeMember) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	v, err := f.open(ctx, rev, name)
	return said(f, v, err)
}

func (f *fakeMember) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	v, err := f.packages(ctx, recipe, idsOnly)
	return said(f, v, err)
}

func (f *fakeMember) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	v, err := f.search(ctx, p)
	return said(f, v, err)
}

func (f *fakeMember) OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.errOn["OwnRevisions"] != nil {
		return nil, f.errOn["OwnRevisions"]
	}
	var own []string
	for _, item := range f.items {
		if item.rev.Ref == ref && !item.rev.IsPackage() && !item.adopted {
			own = append(own, item.rev.RRev)
		}
	}
	return own, nil
}

// plainReader is a Reader whose questions give bare values.
type plainReader struct{ Reader }

type originKey struct{}

// tracing returns a context in which plainReader leaves the origin of its answer.
func tracing(t *testing.T, o *conan.Origin) context.Context {
	return context.WithValue(t.Context(), originKey{}, o)
}

func plain[T any](ctx context.Context, a conan.Answer[T], err error) (T, error) {
	if o, ok := ctx.Value(originKey{}).(*conan.Origin); ok {
		*o = a.Origin
	}
	return a.Value, err
}

func (r plainReader) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	a, err := r.Reader.Latest(ctx, rev)
	return plain(ctx, a, err)
}

func (r plainReader) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	a, err := r.Reader.Revisions(ctx, rev)
	return plain(ctx, a, err)
}

func (r plainReader) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	a, err := r.Reader.Snapshot(ctx, rev)
	return plain(ctx, a, err)
}

func (r plainReader) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	a, err := r.Reader.Open(ctx, rev, name)
	return plain(ctx, a, err)
}

func (r plainReader) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	a, err := r.Reader.Packages(ctx, recipe, idsOnly)
	return plain(ctx, a, err)
}

func (r plainReader) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	a, err := r.Reader.Search(ctx, p)
	return plain(ctx, a, err)
}

func (r plainReader) Newest(ctx context.Context, rev conan.Revision) (conan.Revision, error) {
	a, err := r.Reader.Newest(ctx, rev)
	return plain(ctx, a, err)
}

func (r plainReader) AllPackages(ctx context.Context, ref conan.Ref) ([]conan.Package, error) {
	a, err := r.Reader.AllPackages(ctx, ref)
	return plain(ctx, a, err)
}

// localName is the name of the store in tests.
const localName = "local"

// newReader makes a Reader over a store, which may be nil, and upstreams without rules.
func newReader(t *testing.T, local *fakeMember, upstreams ...*fakeMember) plainReader {
	t.Helper()
	var o Options
	if local != nil {
		o.Members = append(o.Members, store(local))
	}
	for _, u := range upstreams {
		o.Members = append(o.Members, Member{Name: u.name, Source: u})
	}
	return plainReader{mustResolver(t, o).For(conan.AnyGeneration, nil)}
}

func mustResolver(t *testing.T, o Options) *Resolver {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// store is a member that is a store and owns what the patterns match.
func store(f *fakeMember, owns ...conan.Glob) Member {
	return Member{Name: f.name, Store: f, Owns: owns}
}

// ruled is an upstream behind rules.
func ruled(t *testing.T, f conan.Source, name string, clients conan.Generation, include, exclude []string) Member {
	t.Helper()
	rules, err := policy.ParseRules(name, include, exclude)
	if err != nil {
		t.Fatal(err)
	}
	return Member{Name: name, Source: policy.NewFilter(f, rules), Clients: clients, Rules: rules}
}

func globs(t *testing.T, patterns ...string) policy.Globs {
	t.Helper()
	gs, err := policy.ParseGlobs("owns", patterns)
	if err != nil {
		t.Fatal(err)
	}
	return gs
}

// word is the name of an error's kind in the tables.
func word(err error) string {
	var unavailable *conan.UnavailableError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &unavailable):
		return "unavailable " + unavailable.Member
	case errors.Is(err, conan.ErrNotFound):
		return "not found"
	case errors.Is(err, conan.ErrNotFetched):
		return "not fetched"
	case errors.Is(err, conan.ErrInvalid):
		return "invalid"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return err.Error()
}

// show writes a list of revisions as "r2@20 r1@10".
func show(list []conan.RevisionTime) string {
	var b strings.Builder
	for i, rt := range list {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s@%d", rt.ID, rt.Time.Unix())
	}
	return b.String()
}

// sloppySource finds everything, whatever is searched for.
type sloppySource struct{ *fakeMember }

func (s sloppySource) Search(ctx context.Context, _ conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return s.fakeMember.Search(ctx, conan.Pattern{})
}
