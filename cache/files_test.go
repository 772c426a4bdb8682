package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

func names(list conan.Snapshot) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.Name)
	}
	return out
}

func snapshotNames(t *testing.T, b *bench, rev conan.Revision) []string {
	t.Helper()
	list, err := b.Snapshot(context.Background(), rev)
	if err != nil {
		t.Fatal(err)
	}
	return names(list)
}

var recipeNames = []string{"conan_export.tgz", "conan_sources.tgz", "conanfile.py", "conanmanifest.txt"}

func TestSnapshotKnowsWhatIsHeld(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	up.files[recipe]["conanfile.pyc"] = []byte("a name that clients would take for another")
	b := newBench(t, up, nil)
	defer b.end(t)
	if diff := cmp.Diff(recipeNames, snapshotNames(t, b, recipe)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	b.read(t, recipe, conan.RecipeFile)
	list, err := b.Snapshot(context.Background(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		content := up.files[recipe][f.Name]
		held := f.Name == conan.RecipeFile || f.Name == conan.ManifestFile
		switch {
		case held && (f.Size != int64(len(content)) || f.MD5 != md5Of(content) || f.SHA1 != sha1Of(content) || len(f.SHA256) != 64):
			t.Errorf("held file %+v", f)
		case !held && (f.Size != -1 || f.MD5 != ""):
			t.Errorf("other file %+v", f)
		}
	}
	if _, err := b.Snapshot(context.Background(), conan.Revision{Ref: recipe.Ref}); !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("unpinned: %v", err)
	}
}

// A list is kept for ever once it is complete; before that it is asked again.
func TestSnapshotCompletedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		late := up.files[recipe]["conan_sources.tgz"]
		delete(up.files[recipe], "conan_sources.tgz")
		b := newBench(t, up, nil)
		defer b.end(t)
		without := []string{"conan_export.tgz", "conanfile.py", "conanmanifest.txt"}
		if diff := cmp.Diff(without, snapshotNames(t, b, recipe)); diff != "" {
			t.Errorf("incomplete (-want +got):\n%s", diff)
		}
		b.read(t, recipe, conan.ManifestFile)
		up.set(func() { up.files[recipe]["conan_sources.tgz"] = late })
		time.Sleep(4 * time.Minute)
		if diff := cmp.Diff(without, snapshotNames(t, b, recipe)); diff != "" {
			t.Errorf("while fresh (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
		if diff := cmp.Diff(recipeNames, snapshotNames(t, b, recipe)); diff != "" {
			t.Errorf("completed (-want +got):\n%s", diff)
		}
		up.set(func() {
			delete(up.files[recipe], "conan_sources.tgz")
			up.files[recipe]["metadata/build.log"] = []byte("log")
		})
		time.Sleep(5 * time.Minute)
		want := append(slices.Clone(without), "metadata/build.log")
		if diff := cmp.Diff(want, snapshotNames(t, b, recipe)); diff != "" {
			t.Errorf("after upstream lost an archive and got a log (-want +got):\n%s", diff)
		}
		if _, err := b.Open(context.Background(), recipe, "conan_sources.tgz"); !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("an archive that upstream lost: %v", err)
		}
		up.set(func() { up.files[recipe]["conan_sources.tgz"] = late })
		time.Sleep(5 * time.Minute)
		b.read(t, recipe, "conan_sources.tgz")
	})
}

// A file that upstream lists but does not have is not found, and not asked for with each try. Its
// list is asked again at once.
func TestListedButGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		b := newBench(t, up, func(o *Options, _ *space.Options) { o.Mode = Frozen }) // it may come back in any mode
		defer b.end(t)
		for _, gone := range []string{"conan_sources.tgz", conan.ManifestFile} {
			snapshotNames(t, b, recipe)
			up.set(func() {
				up.gone = map[string]bool{gone: true}
				up.asked = make(map[string]int)
			})
			for _, name := range []string{gone, "conan_export.tgz"} {
				for range 3 {
					origin, err := traced(t, func(ctx context.Context) error {
						_, err := readAll(ctx, b.Cache, recipe, name)
						return err
					})
					if errors.Is(err, conan.ErrNotFound) && time.Until(origin.Expires) != time.Minute {
						t.Errorf("%s while %s is gone: the answer is kept until %v", name, gone, origin.Expires)
					}
					if want := name == gone || gone == conan.ManifestFile; errors.Is(err, conan.ErrNotFound) != want {
						t.Errorf("%s while %s is gone: %v", name, gone, err)
					}
				}
			}
			if n := up.times("open " + recipe.String() + " " + gone); n != 1 {
				t.Errorf("upstream was asked %d times for %s", n, gone)
			}
			if n := up.times("files"); n != 1 {
				t.Errorf("upstream listed the files %d times after %s was gone, want once", n, gone)
			}
			time.Sleep(time.Minute)
			up.set(func() { up.gone = nil })
			b.read(t, recipe, gone)
			b.removeAll(t)
			time.Sleep(5 * time.Minute)
		}
	})
}

// An upstream may repair an archive under the same revision, with the same contents: packed anew,
// or with another compression. Archives that are not stored are then fetched as they are now.
func TestRepairedArchive(t *testing.T) {
	for _, listed := range []bool{false, true} { // whether digests are, as by servers of v1
		for _, kind := range []string{"conan_export", "conan_package"} {
			for _, repaired := range []string{".tgz", ".txz"} {
				t.Run(fmt.Sprintf("%s to %s, digests listed: %v", kind, repaired, listed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testRepairedArchive(t, listed, kind+".tgz", kind+repaired) })
				})
			}
		}
	}
}

func testRepairedArchive(t *testing.T, listed bool, name, repaired string) {
	up := newFake()
	if listed {
		up.digests = func(_ conan.Revision, name string, content []byte) conan.FileInfo {
			return conan.FileInfo{Name: name, Size: int64(len(content)), MD5: md5Of(content)}
		}
	}
	rev := up.addRecipe(t, "zlib/1.3", "one", 100)
	if strings.HasPrefix(name, conan.PackagePrefix) {
		rev = up.addPackage(t, rev, "[settings]\n", "lib", 200)
	}
	good := up.files[rev][name]
	b := newBench(t, up, nil)
	defer b.end(t)
	repair := func(content []byte) {
		up.set(func() {
			delete(up.files[rev], name)
			up.files[rev][repaired] = content
		})
	}
	packedAnew := repack(t, good, repaired)

	// Between the list and the first download.
	snapshotNames(t, b, rev)
	b.read(t, rev, conan.ManifestFile)
	repair(packedAnew)
	readAll(context.Background(), b.Cache, rev, name) // may fail, since it is not what was listed
	if !slices.Contains(snapshotNames(t, b, rev), repaired) {
		t.Fatalf("%v is listed after the repair", snapshotNames(t, b, rev))
	}
	if got := b.read(t, rev, repaired); !bytes.Equal(got, packedAnew) {
		t.Error("wrong bytes after the repair")
	}

	// What is stored is served on, and the other archive does not appear beside it.
	time.Sleep(10 * time.Minute)
	up.set(func() {
		delete(up.files[rev], repaired)
		up.files[rev][name] = good
	})
	names := snapshotNames(t, b, rev)
	if !slices.Contains(names, repaired) || name != repaired && slices.Contains(names, name) {
		t.Errorf("%v is listed while %s is stored", names, repaired)
	}
	b.read(t, rev, repaired)

	// Evicted, after a restart.
	b.removeAll(t)
	b.Cache.Close()
	b.start(t, nil)
	time.Sleep(10 * time.Minute)
	if got := b.read(t, rev, name); !bytes.Equal(got, good) {
		t.Error("wrong bytes after the eviction")
	}
}

// If nothing else is known, a revision that is held is listed while upstream fails.
func TestSnapshotFromHeld(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	b := newBench(t, up, nil)
	defer b.end(t)
	for _, name := range []string{conan.RecipeFile, "conan_export.tgz"} {
		b.read(t, recipe, name)
	}
	b.drop(context.Background(), kindFiles, recipe.String())
	up.set(func() { up.fail = down("503") })
	var list conan.Snapshot
	origin, err := traced(t, func(ctx context.Context) (err error) {
		list, err = b.Snapshot(ctx, recipe)
		return err
	})
	if err != nil || origin.State != conan.StateStale {
		t.Fatalf("%+v, %v", origin, err)
	}
	if diff := cmp.Diff([]string{"conan_export.tgz", "conanfile.py", "conanmanifest.txt"}, names(list)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// A file below metadata/ is current for fresh_for; then it is fetched again, or served as it was.
func TestMetadataFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
		const name = "metadata/sign/signature"
		up.files[recipe][name] = []byte("old")
		b := newBench(t, up, nil)
		defer b.end(t)
		check := func(what, want string, state conan.CacheState, opened int) {
			t.Helper()
			var got []byte
			origin, err := traced(t, func(ctx context.Context) (err error) {
				got, err = readAll(ctx, b.Cache, recipe, name)
				return err
			})
			if err != nil || string(got) != want || origin.State != state {
				t.Errorf("%s: %q, %+v, %v; want %q, %s", what, got, origin, err, want, state)
			}
			if n := up.times("open " + recipe.String() + " " + name); n != opened {
				t.Errorf("%s: upstream sent it %d times, want %d", what, n, opened)
			}
		}
		check("first", "old", conan.StateMiss, 1)
		up.set(func() { up.files[recipe][name] = []byte("newer") })
		time.Sleep(time.Minute)
		check("while fresh", "old", conan.StateHit, 1)
		time.Sleep(5 * time.Minute)
		check("after fresh_for", "newer", conan.StateMiss, 2)
		time.Sleep(10 * time.Minute)
		up.set(func() { up.fail = down("503") })
		check("while upstream fails", "newer", conan.StateStale, 3)
		time.Sleep(2 * time.Hour)
		if _, err := b.Open(context.Background(), recipe, name); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("after stale_for: %v", err)
		}
		up.set(func() { up.fail, up.gone = nil, map[string]bool{name: true} })
		origin, err := traced(t, func(ctx context.Context) error { _, err := b.Open(ctx, recipe, name); return err })
		if !errors.Is(err, conan.ErrNotFound) || time.Until(origin.Expires) != time.Minute {
			t.Errorf("when upstream lost it: %v until %v", err, origin.Expires)
		}
		b.read(t, recipe, conan.ManifestFile) // never ages
	})
}

// Revision "0" may be overwritten in place: list and bytes change together.
func TestMutableRevision(t *testing.T) {
	digests := map[string]func(rev conan.Revision, name string, content []byte) conan.FileInfo{
		"without digests": nil,
		"with digests": func(_ conan.Revision, name string, content []byte) conan.FileInfo {
			return conan.FileInfo{Name: name, Size: int64(len(content)), MD5: md5Of(content)}
		},
	}
	for name, listed := range digests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				up.digests = listed
				one, two := up.addRecipe(t, "zlib/1.3", "one", 100), up.addRecipe(t, "zlib/1.3", "two", 100)
				zero := one
				zero.RRev = conan.MutableRevision
				up.files[zero] = up.files[one]
				b := newBench(t, up, nil)
				defer b.end(t)
				sources := func(rev conan.Revision) string { return string(up.files[rev]["conan_sources.tgz"]) }
				read := func() string { return string(b.read(t, zero, "conan_sources.tgz")) }

				for range 2 {
					if read() != sources(one) {
						t.Error("wrong bytes at first")
					}
				}
				opened := up.times("open " + zero.String() + " conan_sources")
				time.Sleep(6 * time.Minute)
				if read() != sources(one) || up.times("open "+zero.String()+" conan_sources") != opened {
					t.Error("unchanged content was fetched again")
				}
				up.set(func() { up.files[zero] = up.files[two] })
				if read() != sources(one) {
					t.Error("bytes changed while the list is fresh")
				}
				time.Sleep(6 * time.Minute)
				if read() != sources(two) {
					t.Error("old bytes after the list expired")
				}
				time.Sleep(6 * time.Minute)
				up.set(func() { up.fail = down("503") })
				origin, err := traced(t, func(ctx context.Context) error {
					f, err := b.Open(ctx, zero, conan.ManifestFile)
					if err == nil {
						defer f.Close()
						_, err = io.Copy(io.Discard, f)
					}
					return err
				})
				if err != nil || origin.State != conan.StateStale {
					t.Errorf("while upstream fails: %+v, %v", origin, err)
				}
				up.set(func() { up.fail = nil })
				up.remove(zero)
				if _, err := b.Snapshot(context.Background(), zero); !errors.Is(err, conan.ErrNotFound) {
					t.Errorf("after it was removed: %v", err)
				}
				if _, err := b.Open(context.Background(), zero, conan.RecipeFile); !errors.Is(err, conan.ErrNotFound) {
					t.Errorf("file after it was removed: %v", err)
				}
			})
		})
	}
}
