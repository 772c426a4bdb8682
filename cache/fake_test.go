package cache

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

// fakeSource is an upstream in memory that counts what it is asked.
type fakeSource struct {
	mu        sync.Mutex
	asked     map[string]int // by question and what it is about
	lists     map[string][]conan.RevisionTime
	files     map[conan.Revision]map[string][]byte
	packages  map[conan.Revision][]conan.Package
	refs      []conan.Ref
	latest    func(conan.Revision) (conan.RevisionTime, error)                         // what Latest says; nil: the first of the list
	fail      error                                                                    // what every question fails with
	delay     time.Duration                                                            // before every answer
	body      func(rev conan.Revision, name string, content []byte) (io.Reader, int64) // how a file is sent; nil: whole
	validator func() string                                                            // of the bytes that are sent; nil: none is given
	digests   func(rev conan.Revision, name string, content []byte) conan.FileInfo     // what is listed; nil: names only
	gone      map[string]bool                                                          // files that are listed but not there
}

func newFake() *fakeSource {
	return &fakeSource{
		asked:    make(map[string]int),
		lists:    make(map[string][]conan.RevisionTime),
		files:    make(map[conan.Revision]map[string][]byte),
		packages: make(map[conan.Revision][]conan.Package),
		gone:     make(map[string]bool),
	}
}

func (s *fakeSource) ask(ctx context.Context, question string, about any) error {
	s.mu.Lock()
	s.asked[fmt.Sprintf("%s %v", question, about)]++
	fail, delay := s.fail, s.delay
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fail
}

func (s *fakeSource) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// times tells how often upstream was asked, by the beginning of the question.
func (s *fakeSource) times(question string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for q, count := range s.asked {
		if strings.HasPrefix(q, question) {
			n += count
		}
	}
	return n
}

func (s *fakeSource) Ping(ctx context.Context) error { return s.ask(ctx, "ping", "") }

func (s *fakeSource) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	if err := s.ask(ctx, "latest", rev); err != nil {
		return conan.RevisionTime{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest != nil {
		return s.latest(rev)
	}
	list := s.lists[rev.String()]
	if len(list) == 0 {
		return conan.RevisionTime{}, conan.ErrNotFound
	}
	return list[0], nil
}

func (s *fakeSource) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	if err := s.ask(ctx, "revisions", rev); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.lists[rev.String()]
	if len(list) == 0 {
		return nil, conan.ErrNotFound
	}
	return slices.Clone(list), nil
}

func (s *fakeSource) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	if err := s.ask(ctx, "files", rev); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	files := s.files[rev]
	if _, ok := files[conan.ManifestFile]; !ok {
		return nil, conan.ErrNotFound
	}
	var out conan.Snapshot
	for name, content := range files {
		info := conan.FileInfo{Name: name, Size: -1}
		if s.digests != nil {
			info = s.digests(rev, name, content)
		}
		out = append(out, info)
	}
	out.Sort()
	return out, nil
}

func (s *fakeSource) Open(ctx context.Context, rev conan.Revision, name string) (*conan.Download, error) {
	if err := s.ask(ctx, "open", rev.String()+" "+name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.files[rev][name]
	if !ok || s.gone[name] {
		return nil, conan.ErrNotFound
	}
	var body io.Reader = bytes.NewReader(content)
	size := int64(len(content))
	if s.body != nil {
		body, size = s.body(rev, name, content)
	}
	d := &conan.Download{FileInfo: conan.FileInfo{Name: name, Size: size}, ReadCloser: io.NopCloser(contextReader{ctx, body})}
	if s.validator != nil {
		d.Validator = s.validator()
	}
	return d, nil
}

func (s *fakeSource) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	if err := s.ask(ctx, "packages", recipe); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, ok := s.packages[recipe]
	if !ok {
		return nil, conan.ErrNotFound
	}
	return slices.Clone(list), nil
}

func (s *fakeSource) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	if err := s.ask(ctx, "search", p.String()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.refs), func(r conan.Ref) bool { return !p.Match(r) }), nil
}

// contextReader ends with its context, like a body over the network.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// gate is a body that stops at an offset until it is opened, or until its context ends.
type gate struct {
	r    io.Reader
	left int64
	open <-chan struct{}
	ctx  context.Context
}

func (g *gate) Read(p []byte) (int, error) {
	if g.left == 0 {
		select {
		case <-g.open:
			g.left = 1 << 60
		case <-g.ctx.Done():
			return 0, g.ctx.Err()
		}
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}

// The builders of revisions.

func md5Of(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func sha1Of(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

func tgz(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// repack packs the files of a tgz anew, in the compression of the name.
func repack(t testing.TB, archive []byte, name string) []byte {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var z io.WriteCloser
	if strings.HasSuffix(name, ".txz") {
		z, err = xz.NewWriter(&out)
	} else {
		z, err = gzip.NewWriterLevel(&out, gzip.BestCompression)
	}
	if err == nil {
		_, err = io.Copy(z, in)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// manifest returns the text over lines path → content, and its summary.
func manifest(lines map[string]string) (text []byte, summary string) {
	b := []byte("1700000000\n")
	for _, path := range slices.Sorted(maps.Keys(lines)) {
		b = fmt.Appendf(b, "%s: %s\n", path, md5Of([]byte(lines[path])))
	}
	m, err := conan.ParseManifest(b)
	if err != nil {
		panic(err)
	}
	return b, m.Summary()
}

func ref(text string) conan.Ref {
	r, err := conan.ParseRef(text)
	if err != nil {
		panic(err)
	}
	return r
}

// addRecipe publishes a recipe with a source file at a time (in Unix seconds), as the newest.
func (s *fakeSource) addRecipe(t testing.TB, name, source string, when int64) conan.Revision {
	t.Helper()
	recipe := "class Recipe: pass # " + source
	text, rrev := manifest(map[string]string{"conanfile.py": recipe, "export_source/a.c": source, "conandata.yml": "x"})
	rev := conan.Revision{Ref: ref(name), RRev: rrev}
	s.add(rev, when, map[string][]byte{
		conan.ManifestFile:  text,
		conan.RecipeFile:    []byte(recipe),
		"conan_export.tgz":  tgz(t, map[string]string{"conandata.yml": "x"}),
		"conan_sources.tgz": tgz(t, map[string]string{"a.c": source}),
	})
	return rev
}

// addPackage publishes a package with one file of that content, as the newest of the package id of
// info.
func (s *fakeSource) addPackage(t testing.TB, recipe conan.Revision, info, content string, when int64) conan.Revision {
	t.Helper()
	text, prev := manifest(map[string]string{"conaninfo.txt": info, "lib/liba.a": content})
	rev := recipe
	rev.PackageID, rev.PRev = sha1Of([]byte(info)), prev
	s.add(rev, when, map[string][]byte{
		conan.ManifestFile:  text,
		conan.InfoFile:      []byte(info),
		"conan_package.tgz": tgz(t, map[string]string{"lib/liba.a": content}),
	})
	s.packages[recipe] = append(s.packages[recipe], conan.Package{ID: rev.PackageID, Info: info})
	return rev
}

func (s *fakeSource) add(rev conan.Revision, when int64, files map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[rev] = files
	parent := listParent(rev).String()
	s.lists[parent] = append([]conan.RevisionTime{{ID: rev.ID(), Time: time.Unix(when, 0).UTC()}}, s.lists[parent]...)
	if !rev.IsPackage() && !slices.Contains(s.refs, rev.Ref) {
		s.refs = append(s.refs, rev.Ref)
	}
}

// setPackage has package search list a binary, in the place of an earlier one of its id.
func (s *fakeSource) setPackage(recipe conan.Revision, p conan.Package) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(s.packages[recipe], func(old conan.Package) bool { return old.ID == p.ID })
	s.packages[recipe] = append(list, p)
	slices.SortFunc(s.packages[recipe], func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
}

// remove takes a revision away, as if it had never been there.
func (s *fakeSource) remove(rev conan.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, rev)
	parent := listParent(rev).String()
	s.lists[parent] = slices.DeleteFunc(s.lists[parent], func(r conan.RevisionTime) bool { return r.ID == rev.ID() })
}

// The cache under test.

// bench is a cache with all that it stands on. Its questions give bare values, like a client that
// installs.
type bench struct {
	*Cache
	up     *fakeSource
	index  *index.DB
	blobs  *blob.Disk
	budget *space.Budget
	dir    string // where the index lies
}

// Latest asks the cache.
func (b *bench) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	a, err := b.Cache.Latest(ctx, rev)
	return bare(ctx, a, err)
}

// Revisions asks the cache.
func (b *bench) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	a, err := b.Cache.Revisions(ctx, rev)
	return bare(ctx, a, err)
}

// Snapshot asks the cache.
func (b *bench) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	a, err := b.Cache.Snapshot(ctx, rev)
	return bare(ctx, a, err)
}

// Open asks the cache.
func (b *bench) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	a, err := b.Cache.Open(ctx, rev, name)
	return bare(ctx, a, err)
}

// Packages asks the cache.
func (b *bench) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	a, err := b.Cache.Packages(ctx, recipe, idsOnly)
	return bare(ctx, a, err)
}

// Search asks the cache.
func (b *bench) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	a, err := b.Cache.Search(ctx, p)
	return bare(ctx, a, err)
}

// asking is how a test asks: what is to be done with the rest of the answers.
type asking struct {
	install bool                                 // prefetch, as a client that installs makes the server do
	traced  func(origin conan.Origin, err error) // may be nil
}

type askingKey struct{}

func installing() context.Context {
	return context.WithValue(context.Background(), askingKey{}, asking{install: true})
}

// newBench makes a cache with sensible times; change may alter the options.
func newBench(t testing.TB, up *fakeSource, change func(*Options, *space.Options)) *bench {
	t.Helper()
	dir := t.TempDir()
	db, err := index.Open(context.Background(), dir+"/index.db")
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.NewDisk(dir+"/blobs", blob.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{up: up, index: db, blobs: blobs, dir: dir}
	b.start(t, change)
	return b
}

// member is the row of a member, which is an upstream unless it is "local".
func (b *bench) member(t testing.TB, name string) index.MemberID {
	t.Helper()
	kind := index.KindUpstream
	if name == "local" {
		kind = index.KindStore
	}
	id, err := b.index.Member(context.Background(), name, kind)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// start makes the cache over what is there.
func (b *bench) start(t testing.TB, change func(*Options, *space.Options)) {
	t.Helper()
	q := space.Options{Index: b.index, Blobs: b.blobs, TempBytes: b.blobs.TempBytes}
	o := Options{Name: "center", Member: b.member(t, "center"), Remote: b.up, Index: b.index, Blobs: b.blobs,
		FreshFor: 5 * time.Minute, NotFoundFor: time.Minute, StaleFor: time.Hour}
	if change != nil {
		change(&o, &q)
	}
	b.budget = space.New(q)
	o.Budget = b.budget
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Cache = c
}

// end closes everything; a synctest bubble needs that before it ends.
func (b *bench) end(t testing.TB) {
	t.Helper()
	b.Cache.Close()
	b.endStores(t)
}

// endStores closes what a closed cache stands on.
func (b *bench) endStores(t testing.TB) {
	t.Helper()
	if n := b.budget.InUse(); n != 0 {
		t.Errorf("%d revisions are in use still", n)
	}
	if err := b.index.Close(); err != nil {
		t.Error(err)
	}
}

// removeAll removes what is cached.
func (b *bench) removeAll(t testing.TB) {
	t.Helper()
	cold, err := b.index.Coldest(context.Background(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, c := range cold {
		ids = append(ids, c.RowID)
	}
	if err := b.budget.Remove(context.Background(), ids); err != nil {
		t.Fatal(err)
	}
}

// read opens a file, reads all of it, and waits until it is stored.
func (b *bench) read(t testing.TB, rev conan.Revision, name string) []byte {
	t.Helper()
	got, err := readAll(context.Background(), b.Cache, rev, name)
	if err != nil {
		t.Fatalf("read %s of %s: %v", name, rev, err)
	}
	b.settle()
	return got
}

func readAll(ctx context.Context, c *Cache, rev conan.Revision, name string) ([]byte, error) {
	a, err := c.Open(ctx, rev, name)
	f, err := bare(ctx, a, err)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err == nil && int64(len(got)) != f.Size {
		return nil, fmt.Errorf("%d bytes of a file of %d", len(got), f.Size)
	}
	return got, err
}

// bare is the value of an answer, whose other parts go where the test wants them.
func bare[T any](ctx context.Context, a conan.Answer[T], err error) (T, error) {
	how, _ := ctx.Value(askingKey{}).(asking)
	if how.traced != nil {
		how.traced(a.Origin, err)
	}
	if how.install && a.Prefetch != nil {
		a.Prefetch()
	}
	return a.Value, err
}

// traced asks one question and returns the origin of its answer.
func traced(t testing.TB, question func(ctx context.Context) error) (conan.Origin, error) {
	t.Helper()
	var origin conan.Origin
	asked := 0
	err := question(context.WithValue(context.Background(), askingKey{}, asking{traced: func(o conan.Origin, _ error) {
		origin = o
		asked++
	}}))
	if asked > 1 {
		t.Fatalf("%d answers", asked)
	}
	return origin, err
}

// settle waits until no fill is under way.
func (b *bench) settle() {
	under := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.fills)
	}
	for under() > 0 {
		time.Sleep(time.Millisecond)
	}
}
