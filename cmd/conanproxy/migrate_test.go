package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

// TestOldDataDirectory opens a data directory that release e8efab5 wrote, when there was one store
// whose rows had its name: two revisions of own/1.0@acme/stable with a package, a package for
// outer/1.0, whose recipe was adopted from the upstream "far", a cached package of that upstream,
// half an upload, and a removal. Everything is there afterwards, and what was added since works on
// it.
func TestOldDataDirectory(t *testing.T) {
	t.Setenv("CONANPROXY_UPSTREAMS", "")
	cfg := testConfig(t, "http://127.0.0.1:1") // where nothing answers
	cfg.Log.Level = "error"
	cfg.Upstreams[0].Name = "far"
	cfg.Auth.Write = []config.Rule{{Pattern: "*", Users: []string{"*"}}}
	unpack(t, "testdata/data-of-schema-2.tar.gz", cfg.DataDir)
	s, err := newServer(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	own, outer := mustRef(t, "own/1.0@acme/stable"), mustRef(t, "outer/1.0")
	recipe := conan.Revision{Ref: own, RRev: "5a0c382c205047355b491682553f3ce7"}
	pkg := conan.Revision{Ref: own, RRev: recipe.RRev, PackageID: "9a4eb3c8701508aa9458b1a73d0633783ecc2270", PRev: "77d3238ac4b2226baf4d5c5982588bcf"}
	adopted := conan.Revision{Ref: outer, RRev: "f8378b96c7f7a95ceb9b62ebf95f6b44"}

	in := s.current.Load()
	all, err := s.readers(in, config.AllName, []string{"local", "far"}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	store, team := in.stores[0], all.For(conan.AnyGeneration, nil)
	lists := func(source conan.Source, rev conan.Revision, want ...conan.RevisionTime) {
		t.Helper()
		got, err := source.Revisions(t.Context(), rev)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Value); diff != "" {
			t.Errorf("revisions of %s (-want +got):\n%s", rev, diff)
		}
	}
	lists(store, conan.Revision{Ref: own},
		conan.RevisionTime{ID: "5cfd919104a6041e300f0d9f1307cd64", Time: time.Date(2026, 11, 27, 10, 15, 14, 716596000, time.UTC)},
		conan.RevisionTime{ID: recipe.RRev, Time: time.Date(2026, 11, 27, 10, 15, 14, 706755000, time.UTC)})
	lists(store, listOf(pkg), conan.RevisionTime{ID: pkg.PRev, Time: time.Date(2026, 11, 27, 10, 15, 14, 713178000, time.UTC)})
	lists(store, conan.Revision{Ref: outer}, conan.RevisionTime{ID: adopted.RRev, Time: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)})
	if _, err := store.Revisions(t.Context(), conan.Revision{Ref: mustRef(t, "gone/1.0")}); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a removed revision: %v", err)
	}
	packages, err := team.Packages(t.Context(), adopted, false)
	if err != nil || len(packages.Value) != 2 {
		t.Errorf("packages of the store and of the cache: %v, %v", packages.Value, err)
	}
	for id, prev := range map[string]string{
		"cb166435141a2617acac681fee1cc7872b26a847": "d6cfc0f0ec6e01d2991175e8c5f5ab02", // in the store
		"9a4eb3c8701508aa9458b1a73d0633783ecc2270": "09e01ead0fc2f4cde490a7642ecc85c7", // cached
	} {
		rev := conan.Revision{Ref: outer, RRev: adopted.RRev, PackageID: id, PRev: prev}
		if b, err := read(team, rev, "conan_package.tgz"); err != nil || len(b) == 0 {
			t.Errorf("the archive of %s: %d bytes, %v", rev, len(b), err)
		}
	}

	ann := conan.Actor{Name: "ann"}
	if _, err := store.RemoveRevisions(t.Context(), []conan.Revision{recipe}, ann, false); err != nil {
		t.Fatal(err)
	}
	past := store.At(time.Date(2026, 11, 27, 10, 15, 15, 0, time.UTC))
	if b, err := read(past, pkg, "conaninfo.txt"); err != nil || len(b) == 0 {
		t.Errorf("what was removed is not there at an earlier moment: %v", err)
	}
	if back, err := store.Restore(t.Context(), []conan.Revision{recipe}, ann, false); err != nil || len(back) != 2 {
		t.Errorf("restored %v, %v", back, err)
	}
	lists(store, listOf(pkg), conan.RevisionTime{ID: pkg.PRev, Time: time.Date(2026, 11, 27, 10, 15, 14, 713178000, time.UTC)})
	lines, err := s.index.AuditLines(t.Context(), index.AuditFilter{Action: index.ActionRemove, Limit: 10})
	if err != nil || len(lines) != 2 {
		t.Errorf("the audit of removals from then and now: %v, %v", lines, err)
	}
	s.close()
	if got := run(t.Context(), []string{"fsck", "--data-dir", cfg.DataDir}); got != exitOK {
		t.Errorf("fsck: exit code %d", got)
	}
}

func mustRef(t *testing.T, text string) conan.Ref {
	t.Helper()
	ref, err := conan.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// unpack makes a folder of an archive.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, h.FileInfo().Mode()); err != nil {
			t.Fatal(err)
		}
	}
}
