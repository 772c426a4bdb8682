package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
)

// memStore is a small Source and Publisher in memory. It publishes like the real store: all of a
// set or nothing, with revisions computed from the manifest where the client knows none.
type memStore struct {
	name  string
	state conan.CacheState
	life  time.Duration // until its answers expire; 0 is for ever
	now   func() time.Time

	mu        sync.Mutex
	err       error // every question fails
	putErr    error
	replaced  time.Time // of files that open
	room      int64     // bytes; 0 is unlimited
	noMD5     bool      // snapshots lack md5
	filling   bool      // files open unverified, with Wait
	fillCuts  int       // an unverified body ends with an error after that many bytes; 0 does not
	hold      chan struct{}
	fillErr   error // what Wait says
	asked     map[string]int
	tick      time.Time
	revisions map[conan.Revision]*memRevision
	stages    map[string]*memStage
	removals  []conan.Removal

	changes  *memory.Changes // raised as the index does; nil: nothing is told
	prefetch func()          // of Latest and Snapshot
}

type memRevision struct {
	time  time.Time
	files map[string][]byte
}

type memStage struct {
	target conan.Revision
	sizes  map[string]int64
	files  map[string][]byte
}

func newMemStore(name string, state conan.CacheState, now func() time.Time) *memStore {
	return &memStore{
		name: name, state: state, now: now,
		tick:      time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		asked:     map[string]int{},
		revisions: map[conan.Revision]*memRevision{},
		stages:    map[string]*memStage{},
	}
}

// answered is a value with the store's origin, or err with it.
func answered[T any](m *memStore, value T, err error) (conan.Answer[T], error) {
	expires := conan.Forever
	if m.life > 0 {
		expires = m.now().Add(m.life)
	}
	return conan.Answer[T]{Value: value, Origin: conan.Origin{Member: m.name, State: m.state, Expires: expires}}, err
}

// ask counts a question and says whether it fails.
func (m *memStore) ask(method string) error {
	m.mu.Lock()
	m.asked[method]++
	err := m.err
	m.mu.Unlock()
	return err
}

// count is how often a method was asked.
func (m *memStore) count(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[method]
}

func (m *memStore) questions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, count := range m.asked {
		n += count
	}
	return n
}

// children are the published revisions below node: recipe revisions, or those of a package.
func (m *memStore) children(node conan.Revision) []conan.RevisionTime {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []conan.RevisionTime
	for rev, content := range m.revisions {
		if rev.With("") == node.With("") && rev.IsPackage() == node.IsPackage() {
			list = append(list, conan.RevisionTime{ID: rev.ID(), Time: content.time})
		}
	}
	slices.SortFunc(list, func(a, b conan.RevisionTime) int { return b.Time.Compare(a.Time) })
	return list
}

func missing(what fmt.Stringer) error { return fmt.Errorf("%s: %w", what, conan.ErrNotFound) }

func (m *memStore) Revisions(_ context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	if err := m.ask("Revisions"); err != nil {
		return conan.Answer[[]conan.RevisionTime]{}, err
	}
	list := m.children(rev)
	if len(list) == 0 {
		return answered(m, list, missing(rev))
	}
	return answered(m, list, nil)
}

func (m *memStore) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := m.Revisions(ctx, rev)
	if err != nil {
		return conan.Answer[conan.RevisionTime]{Origin: list.Origin}, err
	}
	return conan.Answer[conan.RevisionTime]{Value: list.Value[0], Origin: list.Origin, Prefetch: m.prefetch}, nil
}

func (m *memStore) OwnRevisions(_ context.Context, ref conan.Ref) ([]string, error) {
	var ids []string
	for _, t := range m.children(conan.Revision{Ref: ref}) {
		ids = append(ids, t.ID)
	}
	return ids, nil
}

func infoOf(name string, body []byte) conan.FileInfo {
	m, s1, s2 := md5.Sum(body), sha1.Sum(body), sha256.Sum256(body)
	return conan.FileInfo{
		Name: name, Size: int64(len(body)),
		MD5: hex.EncodeToString(m[:]), SHA1: hex.EncodeToString(s1[:]), SHA256: hex.EncodeToString(s2[:]),
	}
}

func (m *memStore) Snapshot(_ context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	if err := m.ask("Snapshot"); err != nil {
		return conan.Answer[conan.Snapshot]{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.revisions[rev]
	if !ok {
		return answered[conan.Snapshot](m, nil, missing(rev))
	}
	var s conan.Snapshot
	for name, body := range content.files {
		info := infoOf(name, body)
		if m.noMD5 {
			info.MD5, info.SHA1, info.SHA256 = "", "", ""
		}
		s = append(s, info)
	}
	s.Sort()
	a, err := answered(m, s, nil)
	a.Prefetch = m.prefetch
	return a, err
}

// seekCloser is what a verified file is read from.
type seekCloser struct{ *bytes.Reader }

func (seekCloser) Close() error { return nil }

func (m *memStore) Open(_ context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	if err := m.ask("Open"); err != nil {
		return conan.Answer[*conan.File]{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	body, ok := m.body(rev, name)
	if !ok {
		return answered[*conan.File](m, nil, fmt.Errorf("%s of %s: %w", name, rev, conan.ErrNotFound))
	}
	whole := &conan.File{FileInfo: infoOf(name, body), ReadCloser: seekCloser{bytes.NewReader(body)}, Replaced: m.replaced}
	if !m.filling {
		return answered(m, whole, nil)
	}
	hold, fillErr := m.hold, m.fillErr
	source := io.Reader(bytes.NewReader(body))
	if m.fillCuts > 0 {
		source = io.MultiReader(bytes.NewReader(body[:m.fillCuts]), failingReader{})
	}
	return answered(m, &conan.File{
		FileInfo:   conan.FileInfo{Name: name, Size: int64(len(body))},
		ReadCloser: io.NopCloser(source),
		Wait: func(ctx context.Context) (*conan.File, error) {
			if hold != nil {
				select {
				case <-hold:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return whole, fillErr
		},
	}, nil)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("the digest is wrong: %w", conan.ErrInvalid)
}

func (m *memStore) body(rev conan.Revision, name string) ([]byte, bool) {
	content, ok := m.revisions[rev]
	if !ok {
		return nil, false
	}
	body, ok := content.files[name]
	return body, ok
}

func (m *memStore) Packages(_ context.Context, recipe conan.Revision, _ bool) (conan.Answer[[]conan.Package], error) {
	if err := m.ask("Packages"); err != nil {
		return conan.Answer[[]conan.Package]{}, err
	}
	m.mu.Lock()
	_, known := m.revisions[recipe]
	ids := map[string]bool{}
	for rev := range m.revisions {
		if rev.IsPackage() && rev.Recipe() == recipe {
			ids[rev.PackageID] = true
		}
	}
	m.mu.Unlock()
	if !known {
		return answered[[]conan.Package](m, nil, missing(recipe))
	}
	packages := []conan.Package{}
	for id := range ids {
		node := recipe
		node.PackageID = id
		node.PRev = m.children(node)[0].ID
		packages = append(packages, conan.Package{ID: id, Info: string(m.revisions[node].files[conan.InfoFile])})
	}
	slices.SortFunc(packages, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	return answered(m, packages, nil)
}

func (m *memStore) Search(_ context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	if err := m.ask("Search"); err != nil {
		return conan.Answer[[]conan.Ref]{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := []conan.Ref{}
	for rev := range m.revisions {
		if !rev.IsPackage() && p.Match(rev.Ref) && !slices.Contains(found, rev.Ref) {
			found = append(found, rev.Ref)
		}
	}
	slices.SortFunc(found, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return answered(m, found, nil)
}

func (m *memStore) Stage(_ context.Context, target conan.Revision, _ conan.Actor, sizes map[string]int64) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if target.IsPackage() {
		known := false
		for rev := range m.revisions {
			known = known || rev.Ref == target.Ref
		}
		if !known {
			return "", missing(target)
		}
	}
	id := fmt.Sprintf("stage%d", len(m.stages))
	m.stages[id] = &memStage{target: target, sizes: sizes, files: map[string][]byte{}}
	return id, nil
}

func (m *memStore) Put(_ context.Context, up conan.Upload) error {
	if m.putErr != nil {
		return m.putErr
	}
	body, err := io.ReadAll(up.Body)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	info := infoOf(up.Name, body)
	if up.Size >= 0 && up.Size != info.Size || up.SHA1 != "" && up.SHA1 != info.SHA1 {
		return fmt.Errorf("%w: %s arrived damaged", conan.ErrInvalid, up.Name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store(up, body)
}

// store adds the file to its stage, or to a published revision if it is metadata, and publishes
// what is whole.
func (m *memStore) store(up conan.Upload, body []byte) error {
	if published, ok := m.revisions[up.Revision]; ok && conan.IsMetadata(up.Name) {
		published.files[up.Name] = body
		m.changed(up.Ref)
		return nil
	}
	id := up.Stage
	if id == "" {
		id = "undeclared " + up.User + " " + up.Revision.String()
		if m.stages[id] == nil {
			m.stages[id] = &memStage{target: up.Revision, files: map[string][]byte{}}
		}
	}
	stage, ok := m.stages[id]
	if !ok {
		return missing(up.Revision)
	}
	stage.files[up.Name] = body
	if stage.sizes != nil && len(stage.files) < len(stage.sizes) || stage.sizes == nil && up.Name != conan.ManifestFile {
		return nil
	}
	return m.publish(id, stage)
}

func (m *memStore) publish(id string, stage *memStage) error {
	manifest, err := conan.ParseManifest(stage.files[conan.ManifestFile])
	if err != nil {
		return err
	}
	var files conan.Snapshot
	for name, body := range stage.files {
		files = append(files, infoOf(name, body))
	}
	files.Sort()
	if lacks := manifest.Outline().Missing(files, stage.target.IsPackage()); len(lacks) > 0 {
		delete(stage.files, conan.ManifestFile)
		return fmt.Errorf("%w: %s lacks %s", conan.ErrIncomplete, stage.target, strings.Join(lacks, ", "))
	}
	rev := stage.target
	if rev.RRev == "" && rev.IsPackage() {
		rev.RRev = m.newestRecipe(rev.Ref)
	}
	if !rev.Pinned() {
		rev = rev.With(manifest.Summary())
	}
	m.add(rev, stage.files)
	delete(m.stages, id)
	return nil
}

func (m *memStore) newestRecipe(ref conan.Ref) string {
	var newest string
	var at time.Time
	for rev, content := range m.revisions {
		if rev.Ref == ref && !rev.IsPackage() && content.time.After(at) {
			newest, at = rev.RRev, content.time
		}
	}
	return newest
}

func (m *memStore) add(rev conan.Revision, files map[string][]byte) {
	m.tick = m.tick.Add(1500 * time.Microsecond)
	m.revisions[rev] = &memRevision{time: m.tick, files: files}
	m.changed(rev.Ref)
}

// changed tells that rows of a reference changed, as the index does after a commit.
func (m *memStore) changed(ref conan.Ref) {
	if m.changes != nil {
		m.changes.ChangedRef(ref)
		m.changes.ChangedNames(ref)
	}
}

func (m *memStore) Link(_ context.Context, up conan.Upload, mayRead func(string, conan.Ref) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for rev, content := range m.revisions {
		for _, body := range content.files {
			if infoOf("", body).SHA1 == up.SHA1 && mayRead(m.name, rev.Ref) {
				return m.store(up, body)
			}
		}
	}
	return missing(up.Revision)
}

func (m *memStore) CheckSpace(_ context.Context, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.room > 0 && size > m.room {
		return fmt.Errorf("%w: %d bytes are left", conan.ErrNoSpace, m.room)
	}
	return nil
}

func (m *memStore) RemoveFiles(_ context.Context, recipe conan.Revision, _ conan.Actor, names []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	recipe.RRev = m.newestRecipe(recipe.Ref)
	content, ok := m.revisions[recipe]
	if !ok {
		return missing(recipe)
	}
	if slices.Contains(names, conan.RecipeFile) {
		return fmt.Errorf("%w: the manifest implies %s", conan.ErrInvalid, conan.RecipeFile)
	}
	for _, name := range names {
		delete(content.files, name)
	}
	m.changed(recipe.Ref)
	return nil
}

func (m *memStore) Remove(_ context.Context, r conan.Removal) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removals = append(m.removals, r)
	var doomed []conan.Revision
	found := map[string]bool{}
	for rev := range m.revisions {
		if selects(r, rev) {
			doomed = append(doomed, rev)
			found[rev.PackageID] = true
		}
	}
	if len(doomed) == 0 {
		return missing(r.Revision)
	}
	for _, id := range r.PackageIDs {
		if !found[id] {
			return fmt.Errorf("%s:%s: %w", r.Ref, id, conan.ErrNotFound)
		}
	}
	for _, rev := range doomed {
		delete(m.revisions, rev)
	}
	m.changed(r.Ref)
	return nil
}

func selects(r conan.Removal, rev conan.Revision) bool {
	if rev.Ref != r.Ref || r.RRev != "" && rev.RRev != r.RRev {
		return false
	}
	if r.AllPackages || len(r.PackageIDs) > 0 {
		return rev.IsPackage() && (r.AllPackages || slices.Contains(r.PackageIDs, rev.PackageID))
	}
	return (r.PackageID == "" || rev.PackageID == r.PackageID) && (r.PRev == "" || rev.PRev == r.PRev)
}

// A recipe and a package as clients send them.
var (
	recipeFiles = map[string]string{
		conan.RecipeFile:   "from conan import ConanFile\n",
		"conan_export.tgz": "export archive",
		conan.ManifestFile: "1795346689\nconanfile.py: d8f3a366ed198dcad09ec30e60f1d34e\nhelper.py: 06c25fe0c80b8959051a62f8f034710a\n",
	}
	info1 = "[settings]\n    os=Linux\n    compiler.version=9\n[options]\n    shared=False\n[recipe_hash]\n    0123456789abcdef0123456789abcdef\n[full_requires]\n    zlib/1.3:0a1b\n"
	info2 = "[settings]\nos=Linux\n"

	packageFiles = map[string]string{
		conan.InfoFile:      info1,
		"conan_package.tgz": "package archive of some length",
		conan.ManifestFile:  "1795346690\nconaninfo.txt: d8f3a366ed198dcad09ec30e60f1d34e\n",
	}
)

func bytesOf(files map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range files {
		out[name] = []byte(text)
	}
	return out
}

// changed returns files with one changed.
func changed(files map[string]string, name, text string) map[string]string {
	out := map[string]string{}
	for n, b := range files {
		out[n] = b
	}
	out[name] = text
	return out
}

// have puts a revision, "hello/1.0#r1:id#p1", into the store, past the publisher.
func (m *memStore) have(t testing.TB, rev string, files map[string]string) conan.Revision {
	t.Helper()
	recipe, pkg, _ := strings.Cut(rev, ":")
	refText, rrev, _ := strings.Cut(recipe, "#")
	id, prev, _ := strings.Cut(pkg, "#")
	ref, err := conan.ParseRef(refText)
	if err != nil {
		t.Fatal(err)
	}
	r, err := conan.NewRevision(ref, rrev, id, prev)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(r, bytesOf(files))
	return r
}
