package scrub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// store is an index and a blob store with one cached revision and one that was published.
type store struct {
	t     *testing.T
	dir   string
	blobs *blob.Disk
	db    *index.DB

	up, mine index.MemberID
}

func newStore(t *testing.T) *store {
	t.Helper()
	dir := t.TempDir()
	blobs, err := blob.NewDisk(filepath.Join(dir, "blobs"), blob.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := index.Open(context.Background(), filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := &store{t: t, dir: dir, blobs: blobs, db: db}
	s.up, s.mine = s.member("up", index.KindUpstream), s.member("mine", index.KindStore)
	return s
}

func (s *store) member(name string, kind index.Kind) index.MemberID {
	s.t.Helper()
	id, err := s.db.Member(context.Background(), name, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// write commits content and returns how the index describes it.
func (s *store) write(name, content string) conan.FileInfo {
	s.t.Helper()
	w, err := s.blobs.Create(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(content)); err != nil {
		s.t.Fatal(err)
	}
	sums := w.Sums()
	if err := w.Commit(context.Background(), nil); err != nil {
		s.t.Fatal(err)
	}
	return index.FileInfo(name, sums)
}

func (s *store) put(member index.MemberID, name string, files ...conan.FileInfo) conan.Revision {
	s.t.Helper()
	rev := conan.Revision{Ref: conan.Ref{Name: name, Version: "1.0"}, RRev: "r1"}
	if err := s.db.PutRevision(context.Background(), member, rev, index.PutOptions{Time: time.Now(), Files: files}); err != nil {
		s.t.Fatal(err)
	}
	return rev
}

func (s *store) path(f conan.FileInfo) string {
	return filepath.Join(s.dir, "blobs", "sha256", f.SHA256[:2], f.SHA256[2:])
}

// flip changes one bit on disk.
func (s *store) flip(f conan.FileInfo) {
	s.t.Helper()
	b, err := os.ReadFile(s.path(f))
	if err != nil {
		s.t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(s.path(f), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(f), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *store) check(o Options) (Summary, []Finding) {
	s.t.Helper()
	var findings []Finding
	o.Index, o.Blobs = s.db, s.blobs
	o.Found = func(f Finding) { findings = append(findings, f) }
	sum, err := Check(context.Background(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return sum, findings
}

func TestCheckFindsAndHeals(t *testing.T) {
	s := newStore(t)
	good := s.write("conanfile.py", "good")
	flipped := s.write("conan_package.tgz", "flipped somewhere in the middle")
	gone := s.write("conan_sources.tgz", "gone")
	mine := s.write("conan_export.tgz", "published here, then flipped")
	s.put(s.up, "zlib", good, flipped, gone)
	s.put(s.mine, "mine", good, mine)
	orphan := s.write("x", "an orphan")

	sum, findings := s.check(Options{})
	if sum.Unhealed != 1 || sum.Orphan != 1 || len(findings) != 1 {
		t.Fatalf("before the damage: %+v %+v", sum, findings)
	}
	s.flip(flipped)
	s.flip(mine)
	if err := os.Remove(s.path(gone)); err != nil {
		t.Fatal(err)
	}

	sum, _ = s.check(Options{})
	want := Summary{Blobs: 4, Bytes: good.Size + flipped.Size + gone.Size + mine.Size, Damaged: 2, Missing: 1, Orphan: 1, Unhealed: 4}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("without repair (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(s.path(flipped)); err != nil {
		t.Errorf("a check without repair changed something: %v", err)
	}

	sum, findings = s.check(Options{Repair: true, Fetch: func(_ context.Context, f index.FileRow) error {
		switch f.Name {
		case flipped.Name:
			again := s.write(f.Name, "flipped somewhere in the middle")
			return s.db.PutRevision(context.Background(), f.Member.ID, f.Revision, index.PutOptions{Time: time.Now(), Files: []conan.FileInfo{again}})
		case gone.Name:
			return errors.New("upstream is gone too")
		}
		return nil // says it is there, and is not
	}})
	if sum.Unhealed != 2 {
		t.Errorf("with repair: %+v", sum)
	}
	healed := map[string]bool{}
	for _, f := range findings {
		for _, file := range f.Files {
			healed[file.Name] = f.Healed
		}
		if f.Kind == Orphan && !f.Healed {
			t.Errorf("the orphan stayed: %+v", f)
		}
	}
	if _, err := s.blobs.Stat(context.Background(), blob.Digest(orphan.SHA256)); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the orphan is in its place: %v", err)
	}
	if back, err := s.blobs.TakeBack(context.Background(), blob.Digest(orphan.SHA256)); err != nil || !back {
		t.Errorf("the orphan was not set aside: %v, %v", back, err)
	}
	if diff := cmp.Diff(map[string]bool{flipped.Name: true, gone.Name: false, mine.Name: false}, healed); diff != "" {
		t.Errorf("healed (-want +got):\n%s", diff)
	}
	if aside, err := filepath.Glob(filepath.Join(s.dir, "blobs", "damaged", "*")); err != nil || len(aside) != 2 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
	named, err := s.db.FilesOf(context.Background(), gone.SHA256)
	if err != nil || len(named) != 0 {
		t.Errorf("the cache still names what it lacks: %v, %v", named, err)
	}
	named, err = s.db.FilesOf(context.Background(), mine.SHA256)
	if err != nil || len(named) != 1 {
		t.Errorf("a published revision lost a file: %v, %v", named, err)
	}
}

// A file that was set aside and is intact is taken back, published or not.
func TestRepairTakesBack(t *testing.T) {
	s := newStore(t)
	f := s.write("conan_export.tgz", "set aside by mistake")
	s.put(s.mine, "mine", f)
	if err := s.blobs.SetAside(t.Context(), blob.Digest(f.SHA256), blob.Orphaned); err != nil {
		t.Fatal(err)
	}
	if sum, findings := s.check(Options{Repair: true}); sum.Missing != 1 || sum.Unhealed != 0 {
		t.Errorf("with repair: %+v %+v", sum, findings)
	}
	if sum, findings := s.check(Options{}); len(findings) != 0 {
		t.Errorf("after it: %+v %+v", sum, findings)
	}
}

func TestDamagedSmallBlobIsNeverOpened(t *testing.T) {
	s := newStore(t)
	f := s.write("conanfile.py", "some lines")
	s.flip(f)
	for range 2 {
		if _, err := s.blobs.Open(context.Background(), blob.Digest(f.SHA256)); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("opening a damaged blob: %v", err)
		}
	}
	if again := s.write("conanfile.py", "some lines"); again != f {
		t.Errorf("committed again: %+v", again)
	}
	r, err := s.blobs.Open(context.Background(), blob.Digest(f.SHA256))
	if err != nil {
		t.Fatalf("after it was committed again: %v", err)
	}
	r.Close()
}

func TestRoundSetsFlipsAsideAndGoesOnWhereItWas(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	a, b := s.write("a.txt", "aaa"), s.write("b.txt", "bbb")
	s.put(s.up, "zlib", a, b)
	first, last := a, b
	if first.SHA256 > last.SHA256 {
		first, last = last, first
	}
	s.flip(first)
	s.flip(last)
	if err := s.db.SetScrubCursor(ctx, first.SHA256); err != nil {
		t.Fatal(err)
	}
	o := Options{Index: s.db, Blobs: s.blobs, Repair: true}
	for i, want := range []struct{ first, last bool }{{true, false}, {false, false}} {
		if err := round(ctx, o, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		_, firstErr := s.blobs.Stat(ctx, blob.Digest(first.SHA256))
		_, lastErr := s.blobs.Stat(ctx, blob.Digest(last.SHA256))
		if (firstErr == nil) != want.first || (lastErr == nil) != want.last {
			t.Errorf("after round %d: first there %v, last there %v", i+1, firstErr == nil, lastErr == nil)
		}
	}
	if cursor, err := s.db.ScrubCursor(ctx); err != nil || cursor != "" {
		t.Errorf("the next round begins after %q, %v", cursor, err)
	}
}
