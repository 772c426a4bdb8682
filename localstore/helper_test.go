package localstore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// clock is a clock that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// env is a store under test with what stands below it.
type env struct {
	*Store
	t     testing.TB
	path  string // of the index
	db    *index.DB
	blobs blob.Store
	clock *clock
}

func newEnv(t testing.TB, change ...func(*Options)) *env {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	db, err := index.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	e := &env{t: t, path: path, db: db, clock: &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}}
	member, err := db.Member(t.Context(), "local", index.KindStore)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Name: "local", Member: member, Index: db, Blobs: newMemStore(), Now: e.clock.Now, Overwrite: true}
	for _, f := range change {
		f(&o)
	}
	e.blobs = o.Blobs
	if e.Store, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// The questions of a test give bare values.

// Latest asks the store.
func (e *env) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	a, err := e.Store.Latest(ctx, rev)
	return a.Value, err
}

// Revisions asks the store.
func (e *env) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	a, err := e.Store.Revisions(ctx, rev)
	return a.Value, err
}

// Snapshot asks the store.
func (e *env) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	a, err := e.Store.Snapshot(ctx, rev)
	return a.Value, err
}

// Open asks the store.
func (e *env) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	a, err := e.Store.Open(ctx, rev, name)
	return a.Value, err
}

// Packages asks the store.
func (e *env) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	a, err := e.Store.Packages(ctx, recipe, idsOnly)
	return a.Value, err
}

// Search asks the store.
func (e *env) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	a, err := e.Store.Search(ctx, p)
	return a.Value, err
}

// plain is a Source whose questions give bare values.
type plain interface {
	Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error)
	Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error)
	Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error)
	Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error)
	Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error)
	Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error)
}

// source makes a Source of a plain one.
type source struct{ plain }

func answerOf[T any](value T, err error) (conan.Answer[T], error) {
	return conan.Answer[T]{Value: value}, err
}

// Latest implements conan.Source.
func (s source) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	return answerOf(s.plain.Latest(ctx, rev))
}

// Revisions implements conan.Source.
func (s source) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	return answerOf(s.plain.Revisions(ctx, rev))
}

// Snapshot implements conan.Source.
func (s source) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return answerOf(s.plain.Snapshot(ctx, rev))
}

// Open implements conan.Source.
func (s source) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	return answerOf(s.plain.Open(ctx, rev, name))
}

// Packages implements conan.Source.
func (s source) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	return answerOf(s.plain.Packages(ctx, recipe, idsOnly))
}

// Search implements conan.Source.
func (s source) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return answerOf(s.plain.Search(ctx, p))
}

// onDisk keeps the blobs of a test in the store that a server has.
func onDisk(t testing.TB) func(*Options) {
	return func(o *Options) {
		var err error
		if o.Blobs, err = blob.NewDisk(t.TempDir(), blob.DiskOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// files is a set of files as a client sends it.
type files map[string]string

func (f files) with(more files) files {
	out := maps.Clone(f)
	maps.Copy(out, more)
	return out
}

func (f files) without(names ...string) files {
	out := maps.Clone(f)
	for _, n := range names {
		delete(out, n)
	}
	return out
}

func (f files) sizes() map[string]int64 {
	out := make(map[string]int64)
	for name, text := range f {
		out[name] = int64(len(text))
	}
	return out
}

func (f files) manifest() *conan.Manifest {
	m, err := conan.ParseManifest([]byte(f[conan.ManifestFile]))
	if err != nil {
		panic(err)
	}
	return m
}

func (f files) rev() string { return f.manifest().Summary() }

func (f files) names() []string { return slices.Sorted(maps.Keys(f)) }

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func sha1Of(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func tarOf(contents files) []byte {
	var members []tar.Header
	for _, name := range contents.names() {
		members = append(members, tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg})
	}
	return tarOfMembers(contents, members...)
}

// tarOfMembers packs members, whose contents are those of their names.
func tarOfMembers(contents files, members ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range members {
		h.Size = int64(len(contents[h.Name]))
		if err := errors.Join(w.WriteHeader(&h), writeString(w, contents[h.Name])); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func writeString(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

// tgz packs contents; another level gives other bytes of the same contents.
func tgz(contents files, level int) string { return gzipped(tarOf(contents), level) }

func gzipped(content []byte, level int) string {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write(content); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func tzst(contents files) string {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write(tarOf(contents)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func manifestOf(lines files) string {
	var b strings.Builder
	b.WriteString("1795346689\n")
	for _, name := range lines.names() {
		fmt.Fprintf(&b, "%s: %s\n", name, md5Of(lines[name]))
	}
	return b.String()
}

// recipe builds a recipe whose conanfile.py is text, with exported files and sources.
func recipe(text string, export, sources files) files {
	lines := files{conan.RecipeFile: text}.with(export)
	set := files{conan.RecipeFile: text}
	if len(export) > 0 {
		set["conan_export.tgz"] = tgz(export, gzip.DefaultCompression)
	}
	if len(sources) > 0 {
		set["conan_sources.tgz"] = tgz(sources, gzip.DefaultCompression)
	}
	for name, content := range sources {
		lines["export_source/"+name] = content
	}
	set[conan.ManifestFile] = manifestOf(lines)
	return set
}

func plainRecipe(text string) files { return recipe(text, nil, nil) }

// pkg builds a package with that conaninfo.txt.
func pkg(info string, contents files) files {
	return files{
		conan.InfoFile:      info,
		"conan_package.tgz": tgz(contents, gzip.DefaultCompression),
		conan.ManifestFile:  manifestOf(files{conan.InfoFile: info}.with(contents)),
	}
}

// info1 is a conaninfo.txt of Conan 1.
func info1(recipeHash string) string {
	return "[settings]\n    os=Linux\n[full_settings]\n    os=Linux\n[recipe_hash]\n    " + recipeHash + "\n"
}

const info2 = "[settings]\nos=Linux\n"

var (
	pid2 = sha1Of(info2)
	hi   = conan.Ref{Name: "hello", Version: "1.0"}
)

const pid1 = "5ab84d6acfe1f23c4fae0ab88f26e3a396351ac9"

// order is that of Conan: by name, so that the manifest comes after the archives and metadata after
// the manifest.
func (f files) order() []string { return f.names() }

// put sends one file without a stage.
func (e *env) put(rev conan.Revision, name, text string) error {
	return e.Put(e.t.Context(), conan.Upload{Revision: rev, Name: name, By: conan.Actor{Name: "ann"}, Size: int64(len(text)), SHA1: sha1Of(text), Body: strings.NewReader(text)})
}

// send sends a whole undeclared set and joins the errors, as a client goes on after one.
func (e *env) send(rev conan.Revision, set files) error {
	var all error
	for _, name := range set.order() {
		all = errors.Join(all, e.put(rev, name, set[name]))
	}
	return all
}

// mustSend publishes by pinned URLs and returns the revision.
func (e *env) publishRecipe(ref conan.Ref, set files) conan.Revision {
	e.t.Helper()
	rev := conan.Revision{Ref: ref, RRev: set.rev()}
	if err := e.send(rev, set); err != nil {
		e.t.Fatal(err)
	}
	return rev
}

func (e *env) publishPackage(recipe conan.Revision, id string, set files) conan.Revision {
	e.t.Helper()
	rev := recipe
	rev.PackageID, rev.PRev = id, set.rev()
	if err := e.send(rev, set); err != nil {
		e.t.Fatal(err)
	}
	return rev
}

// putStage sends one file of a declared set.
func (e *env) putStage(stage string, target conan.Revision, name, text string) error {
	return e.Put(e.t.Context(), conan.Upload{
		Revision: target, Stage: stage, Name: name, By: conan.Actor{Name: "ann"}, Size: int64(len(text)), Body: strings.NewReader(text),
	})
}

// sendV1 declares set and sends it in the given order.
func (e *env) sendV1(target conan.Revision, set files, order ...string) error {
	e.t.Helper()
	stage, err := e.Stage(e.t.Context(), target, conan.Actor{Name: "ann"}, set.sizes())
	if err != nil {
		return err
	}
	if len(order) == 0 {
		order = set.order()
	}
	var all error
	for _, name := range order {
		all = errors.Join(all, e.putStage(stage, target, name, set[name]))
	}
	return all
}

// content reads back a whole revision.
func content(t testing.TB, s plain, rev conan.Revision) files {
	t.Helper()
	list, err := s.Snapshot(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	out := make(files)
	for _, f := range list {
		out[f.Name] = readFile(t, s, rev, f.Name)
	}
	return out
}

func readFile(t testing.TB, s plain, rev conan.Revision, name string) string {
	t.Helper()
	f, err := s.Open(t.Context(), rev, name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func ids(t testing.TB, s plain, rev conan.Revision) []string {
	t.Helper()
	list, err := s.Revisions(t.Context(), rev)
	if errors.Is(err, conan.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, r := range list {
		out = append(out, r.ID)
		if i > 0 && !r.Time.Before(list[i-1].Time) {
			t.Errorf("times of %s are not falling: %v, %v", rev, list[i-1].Time, r.Time)
		}
	}
	return out
}

func wantError(t testing.TB, got, want error, texts ...string) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, want %v", got, want)
	}
	for _, text := range texts {
		if got != nil && !strings.Contains(got.Error(), text) {
			t.Errorf("error %v does not say %q", got, text)
		}
	}
}

func wantEqual(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func noStages(e *env) {
	e.t.Helper()
	stages, _, err := e.db.SweepStages(context.Background(), e.clock.Now().Add(1000*time.Hour))
	if err != nil {
		e.t.Fatal(err)
	}
	if stages != 0 {
		e.t.Errorf("%d stages were left", stages)
	}
}

// brokenBody ends as a request body does whose connection broke.
type brokenBody struct{ r io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func onlyError[T any](_ T, err error) error { return err }
