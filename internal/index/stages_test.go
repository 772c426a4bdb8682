package index

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func mustStage(t *testing.T, db *DB, s Stage, names ...string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for i, name := range names {
		f := testFile(name, 100*len(s.ID)+i, 10)
		if _, err := db.PutStaged(t.Context(), s, StagedFile{FileInfo: f}); err != nil {
			t.Fatal(err)
		}
		got[name] = f.SHA256
	}
	return got
}

func infos(t *testing.T, db *DB, id string) []conan.FileInfo {
	t.Helper()
	s, err := db.Stage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s.Files
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func failsWith(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func TestStageRoundTrip(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ref := conan.Ref{Name: "hello", Version: "1.0", User: "solo"}
	base := conan.Revision{Ref: ref, RRev: "r1", PackageID: "p1", PRev: "v1"}
	want := Stage{Member: store,
		ID: "upload-1", Revision: conan.Revision{Ref: ref, PackageID: "p1"}, Uploader: "ann",
		Declared: map[string]int64{"conaninfo.txt": 0}, Base: base, Touched: noon,
	}
	failsWith(t, "create", db.CreateStage(t.Context(), want), nil)
	got, err := db.Stage(t.Context(), want.ID)
	failsWith(t, "read", err, nil)
	same(t, "stage", got, want)

	file := testFile("conaninfo.txt", 7, 10)
	want.Touched = noon.Add(time.Hour)
	names, err := db.PutStaged(t.Context(), want, StagedFile{FileInfo: file, Members: "[]"})
	failsWith(t, "put", err, nil)
	same(t, "names", names, []string{"conaninfo.txt"})
	want.Files = []conan.FileInfo{file}
	got, err = db.Stage(t.Context(), want.ID)
	failsWith(t, "read", err, nil)
	same(t, "stage with a file", got, want)
	for sum, kept := range map[string]string{file.SHA256: "[]", "other": ""} {
		members, err := db.StagedMembers(t.Context(), want.ID, "conaninfo.txt", sum)
		failsWith(t, "members", err, nil)
		same(t, "members", members, kept)
	}

	_, err = db.Stage(t.Context(), "upload-2")
	failsWith(t, "unknown stage", err, ErrNoStage)
	want.ID = "upload-2"
	_, err = db.PutStaged(t.Context(), want, StagedFile{FileInfo: file})
	failsWith(t, "file of an unknown declared stage", err, ErrNoStage)
}

func TestPutStagedReplaces(t *testing.T) {
	db := openForTest(t, t.TempDir())
	s := Stage{Member: store, ID: "set-1", Revision: testRevision(1), Touched: noon}
	for i := range 2 {
		if _, err := db.PutStaged(t.Context(), s, StagedFile{FileInfo: testFile("conanfile.py", i, 10)}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "files", infos(t, db, s.ID), []conan.FileInfo{testFile("conanfile.py", 1, 10)})
	garbage, err := db.Garbage(t.Context(), 10)
	failsWith(t, "garbage", err, nil)
	same(t, "garbage", garbage, []string{testFile("conanfile.py", 0, 10).SHA256})
}

func TestPublishLooksAgain(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := testRevision(1)
	s := Stage{Member: store, ID: "set-1", Revision: rev, Touched: noon}
	staged := mustStage(t, db, s, "conanfile.py", "conanmanifest.txt", "metadata/x")
	delete(staged, "metadata/x")
	good := Publication{Member: store, StageID: s.ID, Revision: rev, Files: infos(t, db, s.ID)[:2], Staged: staged, Now: noon}

	changed := good
	changed.Staged = map[string]string{"conanfile.py": "another"}
	failsWith(t, "another file", tryPublish(t, db, changed), ErrStageChanged)
	changed = good
	changed.Existing = staged
	failsWith(t, "a revision that is gone", tryPublish(t, db, changed), ErrStageChanged)
	changed = good
	changed.StageID = "set-2"
	failsWith(t, "a stage that is gone", tryPublish(t, db, changed), ErrNoStage)
	if files, err := db.Files(t.Context(), store, rev); err != nil || len(files) != 0 {
		t.Fatalf("files before publication: %v, %v", files, err)
	}

	failsWith(t, "publish", tryPublish(t, db, good), nil)
	files, err := db.Files(t.Context(), store, rev)
	failsWith(t, "files", err, nil)
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	same(t, "names", names, []string{"conanfile.py", "conanmanifest.txt", "metadata/x"})
	_, err = db.Stage(t.Context(), s.ID)
	failsWith(t, "the stage afterwards", err, ErrNoStage)

	mustStage(t, db, s, "conanfile.py", "conanmanifest.txt")
	failsWith(t, "a revision that came meanwhile", tryPublish(t, db, good), ErrStageChanged)
}

func tryPublish(t *testing.T, db *DB, p Publication) error {
	t.Helper()
	_, err := db.Publish(t.Context(), p)
	return err
}

// publishAt publishes rev at a time by the clock and returns the time that it got.
func publishAt(t *testing.T, db *DB, rev conan.Revision, now time.Time) time.Time {
	t.Helper()
	s := Stage{Member: store, ID: "set-" + rev.String(), Revision: rev, Touched: now}
	staged := mustStage(t, db, s, "conanmanifest.txt")
	p := Publication{Member: store, StageID: s.ID, Revision: rev, Files: infos(t, db, s.ID), Staged: staged, Now: now}
	if old, err := db.Files(t.Context(), store, rev); err == nil && len(old) > 0 {
		p.Existing, p.Files = staged, nil
	}
	if err := tryPublish(t, db, p); err != nil {
		t.Fatal(err)
	}
	got, err := db.Find(t.Context(), store, rev)
	if err != nil {
		t.Fatal(err)
	}
	return got.Time
}

func TestPublicationTimes(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ref := conan.Ref{Name: "hello", Version: "1.0"}
	a, b := conan.Revision{Ref: ref, RRev: "a"}, conan.Revision{Ref: ref, RRev: "b"}
	pa, pb := conan.Revision{Ref: ref, RRev: "a", PackageID: "p", PRev: "1"}, conan.Revision{Ref: ref, RRev: "a", PackageID: "p", PRev: "2"}
	other := conan.Revision{Ref: conan.Ref{Name: "other", Version: "1.0"}, RRev: "a"}
	steps := []struct {
		what string
		rev  conan.Revision
		now  time.Time
		want time.Time
	}{
		{"first", a, noon, noon},
		{"newest again", a, noon.Add(time.Second), noon},
		{"in the same microsecond", b, noon, noon.Add(time.Microsecond)},
		{"clock went back", pa, noon.Add(-time.Hour), noon.Add(2 * time.Microsecond)},
		{"a second package revision", pb, noon.Add(time.Second), noon.Add(time.Second)},
		{"the newest package again", pb, noon.Add(time.Minute), noon.Add(time.Second)},
		{"an older recipe again", a, noon.Add(time.Second), noon.Add(time.Second + time.Microsecond)},
		{"an older package again", pa, noon.Add(time.Hour), noon.Add(time.Hour)},
		{"another reference", other, noon, noon},
	}
	for _, step := range steps {
		same(t, step.what, publishAt(t, db, step.rev, step.now), step.want)
	}
}

func TestPublicationWithinKeepTimeKeepsItsTime(t *testing.T) {
	db := openForTest(t, t.TempDir())
	a, b := recipeOf("aa/1", "a"), recipeOf("aa/1", "b")
	put(t, db, store, a, noon.Unix())
	put(t, db, store, b, noon.Unix()+1)
	again := func(now time.Time) (time.Time, bool) {
		s := Stage{Member: store, ID: "set-1", Revision: a, Touched: now}
		failsWith(t, "stage", db.CreateStage(t.Context(), s), nil)
		changed, err := db.Publish(t.Context(), Publication{Member: store, StageID: s.ID, Revision: a, Now: now, KeepTime: time.Minute})
		failsWith(t, "publish", err, nil)
		return find(t, db, store, a).Time, changed
	}
	for _, step := range []struct {
		after   time.Duration
		want    time.Duration
		changed bool
	}{
		{59 * time.Second, 0, false},
		{time.Minute, time.Minute, true},
		{time.Hour, time.Minute, false}, // the newest already
	} {
		got, changed := again(noon.Add(step.after))
		same(t, step.after.String(), []any{got, changed}, []any{noon.Add(step.want), step.changed})
	}
}

func TestPublishReplacesFiles(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := packageOf("aa/1", "r", "p", "v")
	put(t, db, store, rev.Recipe(), 1)
	manifest, tgz, info := testFile("conanmanifest.txt", 1, 1), testFile("conan_package.tgz", 2, 1), testFile("conaninfo.txt", 3, 1)
	put(t, db, store, rev, noon.Unix(), manifest, tgz, info)
	h, err := db.Held(t.Context(), store, rev)
	failsWith(t, "held", err, nil)
	same(t, "replaced before", h.Replaced, map[string]time.Time(nil))

	txz, info2 := testFile("conan_package.txz", 4, 1), testFile("conaninfo.txt", 5, 1)
	s := Stage{Member: store, ID: "set-1", Revision: rev, Touched: noon}
	p := Publication{
		Member: store, StageID: s.ID, Revision: rev, Now: noon.Add(time.Hour),
		Files: []conan.FileInfo{manifest, txz, info2}, Remove: []string{tgz.Name}, Audit: []Audit{{By: conan.Actor{Name: "ann"}, Action: "replace", Target: "a -> b"}},
		Staged: map[string]string{}, Existing: map[string]string{},
	}
	for _, f := range p.Files {
		_, err := db.PutStaged(t.Context(), s, StagedFile{FileInfo: f})
		failsWith(t, "stage", err, nil)
		p.Staged[f.Name] = f.SHA256
	}
	failsWith(t, "others there", tryPublish(t, db, p), ErrStageChanged)
	for _, f := range []conan.FileInfo{manifest, tgz, info} {
		p.Existing[f.Name] = f.SHA256
	}
	failsWith(t, "publish", tryPublish(t, db, p), nil)
	h, err = db.Held(t.Context(), store, rev)
	failsWith(t, "held", err, nil)
	same(t, "files", h.Files, conan.Snapshot{txz, info2, manifest})
	at := noon.Add(time.Hour)
	same(t, "replaced", h.Replaced, map[string]time.Time{txz.Name: at, info2.Name: at})
	same(t, "time", h.Time, noon)
	audit, err := column[string](t.Context(), db.read, "audit", `SELECT usr || ' ' || action || ' ' || target FROM audit`)
	failsWith(t, "audit", err, nil)
	same(t, "audit", audit, []string{"ann replace a -> b"})
	same(t, "garbage has the replaced bytes", slices.Contains(garbage(t, db), tgz.SHA256) && slices.Contains(garbage(t, db), info.SHA256), true)
}

func TestPublishNeedsRecipe(t *testing.T) {
	db := openForTest(t, t.TempDir())
	ref := conan.Ref{Name: "hello", Version: "1.0"}
	rev := conan.Revision{Ref: ref, RRev: "a", PackageID: "p", PRev: "1"}
	s := Stage{Member: store, ID: "set-p", Revision: rev, Touched: noon}
	staged := mustStage(t, db, s, "conanmanifest.txt")
	p := Publication{Member: store, StageID: s.ID, Revision: rev, Files: infos(t, db, s.ID), Staged: staged, Now: noon, RecipeStage: "set-recipe"}
	failsWith(t, "no recipe", tryPublish(t, db, p), conan.ErrNotFound)
	mustStage(t, db, Stage{Member: store, ID: "set-recipe", Revision: rev.Recipe(), Touched: noon}, "conanfile.py")
	failsWith(t, "recipe under way", tryPublish(t, db, p), nil)
	refs, err := db.RecipeRefs(t.Context(), store)
	failsWith(t, "references", err, nil)
	same(t, "references with recipes", refs, []conan.Ref(nil))

	stages, hidden, err := db.SweepStages(t.Context(), noon.Add(time.Second))
	failsWith(t, "sweep", err, nil)
	same(t, "swept", []int{stages, hidden}, []int{1, 1})
	garbage, err := db.Garbage(t.Context(), 10)
	failsWith(t, "garbage", err, nil)
	same(t, "garbage", len(garbage), 2)
}

func TestAdoptKeepsWhatIsThere(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := conan.Revision{Ref: conan.Ref{Name: "hello", Version: "1.0"}, RRev: "a"}
	s := Stage{Member: store, ID: "adopt-1", Revision: rev, Touched: noon}
	staged := mustStage(t, db, s, "conanmanifest.txt")
	failsWith(t, "other files", db.Adopt(t.Context(), store, s.ID, rev, noon, map[string]string{"x": "y"}), ErrStageChanged)
	failsWith(t, "adopt", db.Adopt(t.Context(), store, s.ID, rev, noon, staged), nil)
	got, err := db.Find(t.Context(), store, rev)
	failsWith(t, "find", err, nil)
	same(t, "adopted", []any{got.Adopted, got.Time}, []any{true, noon})

	same(t, "publishing makes it our own", publishAtExisting(t, db, rev, noon.Add(time.Hour), staged), noon.Add(time.Hour))
	mustStage(t, db, s, "conanmanifest.txt")
	failsWith(t, "adopt again", db.Adopt(t.Context(), store, s.ID, rev, noon, staged), nil)
	got, err = db.Find(t.Context(), store, rev)
	failsWith(t, "find", err, nil)
	same(t, "not adopted any more", []any{got.Adopted, got.Time}, []any{false, noon.Add(time.Hour)})
	_, err = db.Stage(t.Context(), s.ID)
	failsWith(t, "the stage afterwards", err, ErrNoStage)
}

func publishAtExisting(t *testing.T, db *DB, rev conan.Revision, now time.Time, existing map[string]string) time.Time {
	t.Helper()
	s := Stage{Member: store, ID: "set-1", Revision: rev, Touched: now}
	staged := mustStage(t, db, s, "conanmanifest.txt")
	p := Publication{Member: store, StageID: s.ID, Revision: rev, Staged: staged, Existing: existing, Now: now}
	if err := tryPublish(t, db, p); err != nil {
		t.Fatal(err)
	}
	got, err := db.Find(t.Context(), store, rev)
	if err != nil {
		t.Fatal(err)
	}
	return got.Time
}

func TestHoldersBySHA1(t *testing.T) {
	db := openForTest(t, t.TempDir())
	file := testFile("conanfile.py", 1, 10)
	file.SHA1 = "sha1"
	a, b := testRevision(1), testRevision(2)
	for member, rev := range map[MemberID]conan.Revision{store: a, other: b} {
		if err := db.PutRevision(t.Context(), member, rev, PutOptions{Time: noon, Files: []conan.FileInfo{file}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.PutStaged(t.Context(), Stage{Member: store, ID: "set-1", Revision: testRevision(3), Touched: noon}, StagedFile{FileInfo: file}); err != nil {
		t.Fatal(err)
	}
	got, err := db.HoldersBySHA1(t.Context(), "sha1")
	failsWith(t, "holders", err, nil)
	want := file
	want.Name = ""
	same(t, "holders", got, []Holder{{FileInfo: want, In: []MemberRef{{store, a.Ref}, {other, b.Ref}}}})
	got, err = db.HoldersBySHA1(t.Context(), "other")
	failsWith(t, "holders", err, nil)
	same(t, "holders of another", got, []Holder(nil))
}

func TestRemovalsAreAudited(t *testing.T) {
	db := openForTest(t, t.TempDir())
	rev := conan.Revision{Ref: conan.Ref{Name: "hello", Version: "1.0"}, RRev: "a"}
	publishAt(t, db, rev, noon)
	mustStage(t, db, Stage{Member: store, ID: "upload-of-it", Revision: conan.Revision{Ref: rev.Ref}, Touched: noon}, "conanfile.py")
	mustStage(t, db, Stage{Member: store, ID: "upload-of-another", Revision: testRevision(1), Touched: noon}, "conanfile.py")

	failsWith(t, "remove files", db.RemoveFiles(t.Context(), store, rev, []string{"conan_export.tgz"}, Audit{By: conan.Actor{Name: "ann"}, Action: "remove_files", Target: "x"}, noon), nil)
	whole := conan.Removal{Revision: conan.Revision{Ref: rev.Ref}}
	failsWith(t, "remove", db.Remove(t.Context(), store, whole, RemoveOptions{Audit: Audit{By: conan.Actor{Name: "bob"}, Action: "remove", Target: "y"}, Now: noon}), nil)
	failsWith(t, "remove again", db.Remove(t.Context(), store, whole, RemoveOptions{Audit: Audit{By: conan.Actor{Name: "eve"}, Action: "remove", Target: "z"}, Now: noon}), conan.ErrNotFound)
	failsWith(t, "remove files of nothing", db.RemoveFiles(t.Context(), store, rev, nil, Audit{By: conan.Actor{Name: "eve"}, Action: "remove_files", Target: "z"}, noon), conan.ErrNotFound)

	lines, err := column[string](t.Context(), db.read, "read", `SELECT usr || ' ' || action || ' ' || target || ' ' || time FROM audit ORDER BY id`)
	failsWith(t, "audit", err, nil)
	at := fmt.Sprint(noon.UnixMicro())
	same(t, "audit lines", lines, []string{"ann remove_files x " + at, "bob remove y " + at})
	stages, err := column[string](t.Context(), db.read, "read", `SELECT id FROM stages`)
	failsWith(t, "stages", err, nil)
	same(t, "stages that are left", stages, []string{"upload-of-another"})
}
