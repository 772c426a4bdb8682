package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

// A dry run reports exactly the work of the run after it. Published packages, and cached ones
// within the limits, stay.
func TestFaultsGC(t *testing.T) {
	ctx := context.Background()
	l := newPlace(t)
	own := conantest.Recipe("own", "1.0")
	ownPkg := conantest.Package(own, conantest.Random("lib/own", 2*modelMaxSize)) // larger than the whole cache
	outside := conantest.Recipe("outside", "1.0")
	small := conantest.Package(outside, conantest.Random("lib/small", modelPackage))
	big := conantest.Package(outside, conantest.Random("lib/big", 4*modelPackage), conantest.Setting("os", "Windows"))
	l.origin.Add(outside, small, big)
	for _, set := range []conantest.Set{own, ownPkg} {
		if err := l.publish(set); err != nil {
			t.Fatal(err)
		}
	}
	for _, set := range []conantest.Set{big, small} {
		for _, name := range set.Names() {
			if _, err := read(l.cache(), set.Revision, name); err != nil {
				t.Fatal(err)
			}
		}
		// A revision is as warm as its last file that was stored, and a reader does not wait for
		// that.
		if err := l.settle(); err != nil {
			t.Fatal(err)
		}
	}
	orphan := filepath.Join(l.dir, "blobs", "sha256", "ab", strings.Repeat("ab", 31))
	if err := os.MkdirAll(filepath.Dir(orphan), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(orphan, []byte("no index entry refers to these"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.s.close()

	cfg := config.Default()
	cfg.DataDir, cfg.Upstreams = l.dir, nil
	cfg.Cache.MinFree, cfg.Cache.MaxSize = 0, 2*modelPackage
	cfg.Log.Level = "error"
	var plan, done, again, check bytes.Buffer
	for _, step := range []struct {
		dry bool
		out *bytes.Buffer
	}{{true, &plan}, {true, &check}, {false, &done}, {false, &again}} {
		if err := withOffline(ctx, cfg, func(o *offline) error { return gc(ctx, o, step.dry, step.out) }); err != nil {
			t.Fatalf("gc, dry run %v: %v", step.dry, err)
		}
	}
	if plan.String() != check.String() {
		t.Errorf("a dry run changed something: %q, then %q", plan.String(), check.String())
	}
	var revisions, uploads, packages, files, orphans int
	var bytes int64
	if _, err := fmt.Sscanf(done.String(), "removed: %d cached revisions, %d abandoned uploads, %d packages without a recipe, %d files of %d bytes; %d orphaned files moved",
		&revisions, &uploads, &packages, &files, &bytes, &orphans); err != nil {
		t.Fatalf("gc said %q: %v", done.String(), err)
	}
	var planned int
	if _, err := fmt.Sscanf(plan.String(), "would remove: %d cached revisions", &planned); err != nil || planned != revisions {
		t.Errorf("planned %q, done %q", plan.String(), done.String())
	}
	if revisions != 1 || files < 1 || bytes < 4*modelPackage || orphans != 1 {
		t.Errorf("gc said %q, want the one revision that is coldest, and the orphan", done.String())
	}
	if got := contentOf(t, filepath.Join(l.dir, "blobs", "orphaned", "*")); got != "no index entry refers to these" {
		t.Errorf("the orphaned file has become %q", got)
	}
	if want := "removed: 0 cached revisions, 0 abandoned uploads, 0 packages without a recipe, 0 files of 0 bytes; 0 orphaned files moved to blobs/orphaned\n"; again.String() != want {
		t.Errorf("gc again said %q, want %q", again.String(), want)
	}

	l.open()
	for _, set := range []conantest.Set{own, ownPkg} {
		for _, name := range set.Names() {
			if got, err := read(l.store(), set.Revision, name); err != nil || string(got) != string(set.Files[name]) {
				t.Errorf("%s of %s after gc: %v", name, set.Revision, err)
			}
		}
	}
	l.origin.ResetLog()
	if _, err := read(l.cache(), small.Revision, "conan_package.tgz"); err != nil || l.origin.Count("*") != 0 {
		t.Errorf("what fits is not held any more: %v, %d questions", err, l.origin.Count("*"))
	}
	origin, err := l.s.index.Member(ctx, "origin", index.KindUpstream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.s.index.Find(ctx, origin, big.Revision); err == nil {
		t.Errorf("%s is held still", big.Revision)
	}
}
