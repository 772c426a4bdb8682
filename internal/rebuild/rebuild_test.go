package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

var ctx = context.Background()

// data is a data directory with a store and an upstream.
type data struct {
	dir    string
	blobs  *blob.Disk
	db     *index.DB
	stores []index.MemberID
	up     index.MemberID
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newData(t *testing.T, dir string) *data {
	t.Helper()
	d := &data{dir: dir}
	var err error
	d.blobs, err = blob.NewDisk(filepath.Join(dir, "blobs"), blob.DiskOptions{})
	check(t, err)
	d.open(t)
	for _, name := range []string{"local", "dev"} {
		id, err := d.db.Member(ctx, name, index.KindStore)
		check(t, err)
		d.stores = append(d.stores, id)
	}
	d.up, err = d.db.Member(ctx, "center", index.KindUpstream)
	check(t, err)
	return d
}

func (d *data) index() string   { return filepath.Join(d.dir, "index.db") }
func (d *data) journal() string { return filepath.Join(d.dir, "blobs", "journal.jsonl") }

func (d *data) open(t *testing.T) {
	t.Helper()
	var err error
	d.db, err = index.Open(ctx, d.index())
	check(t, err)
	check(t, d.db.KeepJournal(ctx, d.journal()))
}

func (d *data) write(t *testing.T, name, content string) conan.FileInfo {
	t.Helper()
	w, err := d.blobs.Create(ctx)
	check(t, err)
	defer w.Abort()
	_, err = w.Write([]byte(content))
	check(t, err)
	f := index.FileInfo(name, w.Sums())
	check(t, w.Commit(ctx, nil))
	return f
}

func (d *data) put(t *testing.T, member index.MemberID, rev conan.Revision, seconds int64, files ...conan.FileInfo) {
	t.Helper()
	o := index.PutOptions{Time: time.Unix(seconds, 0), Files: files}
	if rev.IsPackage() {
		text := "info"
		o.Info = &text
		o.Files = append(o.Files, d.write(t, conan.InfoFile, text))
	}
	check(t, d.db.PutRevision(ctx, member, rev, o))
}

// lose deletes the index.
func (d *data) lose(t *testing.T) {
	t.Helper()
	check(t, d.db.Close())
	check(t, os.Remove(d.index()))
}

// contents describes everything that the stores show.
func (d *data) contents(t *testing.T) []string {
	t.Helper()
	members, err := d.db.Members(ctx)
	check(t, err)
	var out []string
	for _, m := range members {
		if m.Kind != index.KindStore {
			continue
		}
		refs, err := d.db.Refs(ctx, m.ID)
		check(t, err)
		for _, ref := range refs {
			recipes, err := d.db.Revisions(ctx, m.ID, conan.Revision{Ref: ref})
			check(t, err)
			for _, r := range recipes {
				out = append(out, d.describe(t, m, r.Revision))
				packages, err := d.db.Packages(ctx, m.ID, r.Revision, false)
				check(t, err)
				for _, p := range packages {
					out = append(out, fmt.Sprintf("%s %s %s %q", m.Name, r.Revision, p.ID, p.Info))
					revisions, err := d.db.Revisions(ctx, m.ID, conan.Revision{Ref: ref, RRev: r.RRev, PackageID: p.ID})
					check(t, err)
					for _, v := range revisions {
						out = append(out, d.describe(t, m, v.Revision))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func (d *data) describe(t *testing.T, m index.Member, rev conan.Revision) string {
	t.Helper()
	h, err := d.db.Held(ctx, m.ID, rev)
	check(t, err)
	return fmt.Sprint(m.Name, " ", rev, " ", h.Time, h.Adopted, h.Files)
}

// Whatever was published, changed and removed, the rebuilt index shows the same as the lost one.
func TestRebuiltIndexShowsTheSame(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			d := newData(t, t.TempDir())
			random := rand.New(rand.NewPCG(seed, 0))
			for i := range 40 {
				d.change(t, random, int64(i))
			}
			want := d.contents(t)
			d.lose(t)
			_, err := Run(ctx, Options{Index: d.index(), Journal: d.journal(), Blobs: d.store})
			check(t, err)
			d.open(t)
			defer d.db.Close()
			if diff := cmp.Diff(want, d.contents(t)); diff != "" || len(want) == 0 {
				t.Errorf("rebuilt (-want +got):\n%s", diff)
			}
		})
	}
}

// change makes a random change: publishes, caches or removes.
func (d *data) change(t *testing.T, random *rand.Rand, now int64) {
	t.Helper()
	letter := func() string { return string(rune('a' + random.IntN(2))) }
	rev := conan.Revision{Ref: conan.Ref{Name: "lib", Version: letter()}, RRev: letter()}
	store := d.stores[random.IntN(len(d.stores))]
	var err error
	switch random.IntN(8) {
	case 0, 1, 2:
		d.put(t, store, rev, now, d.write(t, conan.RecipeFile, letter()))
	case 3, 4:
		rev.PackageID, rev.PRev = "p", letter()
		d.put(t, store, rev, now, d.write(t, "conan_package.tgz", letter()))
	case 5:
		d.put(t, d.up, rev, now, d.write(t, conan.RecipeFile, letter()))
	case 6:
		err = d.db.Remove(ctx, store, conan.Removal{Revision: rev}, index.RemoveOptions{Now: time.Unix(now, 0)})
	case 7:
		err = d.db.RemoveFiles(ctx, store, rev, []string{conan.RecipeFile}, index.Audit{}, time.Unix(now, 0))
	}
	if !errors.Is(err, conan.ErrNotFound) {
		check(t, err)
	}
}

// What was visible at each moment is the same after a rebuild.
func TestRebuildKeepsTheHistory(t *testing.T) {
	d := newData(t, t.TempDir())
	rev := conan.Revision{Ref: conan.Ref{Name: "mine", Version: "1"}, RRev: "r"}
	var moments []time.Time
	pass := func() {
		time.Sleep(time.Millisecond) // times are kept in microseconds
		moments = append(moments, time.Now())
		time.Sleep(time.Millisecond)
	}
	pass()
	d.put(t, d.stores[0], rev, 1, d.write(t, conan.RecipeFile, "mine")) // published long ago, as a promoted one was
	pass()
	remove := index.RemoveOptions{Now: time.Now(), Trash: true}
	_, err := d.db.RemovePinned(ctx, d.stores[0], []conan.Revision{rev}, remove)
	check(t, err)
	pass()
	_, err = d.db.Restore(ctx, d.stores[0], []conan.Revision{rev}, index.Audit{}, time.Now(), false)
	check(t, err)
	pass()
	visible := func() (seen []bool) {
		for _, at := range moments {
			was, err := d.db.WasVisible(ctx, d.stores[0], rev, at)
			check(t, err)
			seen = append(seen, was)
		}
		return seen
	}
	want := []bool{false, true, false, true}
	if diff := cmp.Diff(want, visible()); diff != "" {
		t.Fatalf("before (-want +got):\n%s", diff)
	}
	d.lose(t)
	_, err = Run(ctx, Options{Index: d.index(), Journal: d.journal(), Blobs: d.store})
	check(t, err)
	d.open(t)
	defer d.db.Close()
	if diff := cmp.Diff(want, visible()); diff != "" {
		t.Errorf("after a rebuild (-want +got):\n%s", diff)
	}
}

func TestRebuildTellsWhatItFound(t *testing.T) {
	d := newData(t, t.TempDir())
	rev := conan.Revision{Ref: conan.Ref{Name: "mine", Version: "1"}, RRev: "r"}
	aside, gone := d.write(t, conan.RecipeFile, "set aside"), d.write(t, "conan_export.tgz", "gone")
	d.put(t, d.stores[0], rev, 1, aside, gone)
	d.put(t, d.up, conan.Revision{Ref: conan.Ref{Name: "cached", Version: "2.0"}, RRev: "x"}, 1, d.write(t, conan.RecipeFile, "cached"))
	d.lose(t)
	check(t, d.blobs.SetAside(ctx, blob.Digest(aside.SHA256), blob.Orphaned))
	check(t, os.Remove(filepath.Join(d.dir, "blobs", "sha256", gone.SHA256[:2], gone.SHA256[2:])))

	var missing []string
	r, err := Run(ctx, Options{
		Index: d.index(), Journal: d.journal(), Blobs: d.store,
		Missing: func(f index.FileRow) { missing = append(missing, f.Member.Name+" "+f.Revision.String()+" "+f.Name) },
	})
	check(t, err)
	if diff := cmp.Diff([]string{"local mine/1#r conan_export.tgz"}, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if r.Changes != 1 || r.Missing != 1 {
		t.Errorf("report %+v", r)
	}
	if _, err := d.blobs.Stat(ctx, blob.Digest(aside.SHA256)); err != nil {
		t.Errorf("the blob that was set aside: %v", err)
	}
	_, err = Run(ctx, Options{Index: d.index(), Journal: d.journal(), Blobs: d.store})
	if !errors.Is(err, ErrIndexThere) {
		t.Errorf("again: %v, want ErrIndexThere", err)
	}
}

// What a journal means that cannot be understood whole is not guessed.
func TestRebuildStopsAtUnknownLines(t *testing.T) {
	for name, line := range map[string]string{
		"event":     `{"version":1,"seq":9,"event":"moved","store":"local","ref":"a/1","rrev":"r"}`,
		"version":   `{"version":2,"seq":9,"event":"removed","store":"local","ref":"a/1","rrev":"r"}`,
		"reference": `{"version":1,"seq":9,"event":"removed","store":"local","ref":"a","rrev":"r"}`,
		"no JSON":   `published a/1`,
	} {
		t.Run(name, func(t *testing.T) {
			d := newData(t, t.TempDir())
			d.put(t, d.stores[0], conan.Revision{Ref: conan.Ref{Name: "mine", Version: "1"}, RRev: "r"}, 1)
			d.lose(t)
			f, err := os.OpenFile(d.journal(), os.O_APPEND|os.O_WRONLY, 0)
			check(t, err)
			_, err = f.WriteString(line + "\n")
			check(t, errors.Join(err, f.Close()))
			if _, err := Run(ctx, Options{Index: d.index(), Journal: d.journal(), Blobs: d.store}); err == nil {
				t.Error("no error")
			}
			if left, err := filepath.Glob(filepath.Join(d.dir, "*")); err != nil || len(left) != 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	_, err := Run(ctx, Options{Index: filepath.Join(t.TempDir(), "index.db"), Journal: filepath.Join(t.TempDir(), "no"),
		Blobs: func(context.Context, *index.DB) (Blobs, error) { return nil, nil }})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a journal: %v", err)
	}
}

// store is Options.Blobs.
func (d *data) store(context.Context, *index.DB) (Blobs, error) { return d.blobs, nil }
