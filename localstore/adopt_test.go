package localstore

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// upstream is a Source with faults; what it opens is unverified, as during a fill.
type upstream struct {
	*env
	down    bool
	serve   conan.Revision // if set, what is served as every revision
	hide    string         // a file that Snapshot leaves out
	forge   string         // a file whose bytes are not those of its digest
	opened  atomic.Int64
	release chan struct{} // if set, Open waits for it
}

func (u *upstream) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	if u.down {
		return conan.RevisionTime{}, &conan.UnavailableError{Member: "far", Reason: "down"}
	}
	return u.env.Latest(ctx, rev)
}

func (u *upstream) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	if u.down {
		return nil, &conan.UnavailableError{Member: "far", Reason: "down"}
	}
	if u.serve.RRev != "" {
		rev = u.serve
	}
	list, err := u.env.Snapshot(ctx, rev)
	var out conan.Snapshot
	for _, f := range list {
		if f.Name != u.hide {
			out = append(out, f)
		}
	}
	return out, err
}

func (u *upstream) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	u.opened.Add(1)
	if u.release != nil {
		select {
		case <-u.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if u.serve.RRev != "" {
		rev = u.serve
	}
	f, err := u.env.Open(ctx, rev, name)
	if err != nil {
		return nil, err
	}
	whole := *f
	if name == u.forge {
		whole.ReadCloser = io.NopCloser(strings.NewReader("forged"))
	}
	f.Wait = func(context.Context) (*conan.File, error) { return &whole, nil }
	f.ReadCloser = io.NopCloser(strings.NewReader(""))
	return f, nil
}

func newUpstream(t *testing.T) *upstream { return &upstream{env: newEnv(t)} }

func TestAdopt(t *testing.T) {
	t.Parallel()
	set := recipe("class A", files{"x.txt": "x"}, files{"a.c": "int a;"}).with(files{"metadata/sign.txt": "sig"})
	p := pkg(info2, files{"a": "a"})
	for name, shared := range map[string]bool{"bytes shared": true, "bytes copied": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t)
			rev := up.publishRecipe(hi, set)
			published, err := up.Latest(t.Context(), rev)
			wantError(t, err, nil)
			e := newEnv(t, func(o *Options) {
				o.Upstream = func(conan.Actor) conan.Source { return source{up} }
				if shared {
					o.Blobs = up.blobs
				}
			})
			e.clock.advance(time.Hour)
			prev := rev
			prev.PackageID, prev.PRev = pid2, p.rev()
			if err := e.put(prev, "conan_package.tgz", p["conan_package.tgz"]); err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "nothing is adopted before it is needed", ids(t, e, rev.Recipe()), []string(nil))
			e.publishPackage(rev, pid2, p)
			wantEqual(t, "package", content(t, e, prev), p)
			wantEqual(t, "recipe", content(t, e, rev), set)
			got, err := e.Latest(t.Context(), rev)
			wantError(t, err, nil)
			wantEqual(t, "upstream's time", got, published)
			own, err := e.OwnRevisions(t.Context(), hi)
			wantError(t, err, nil)
			wantEqual(t, "own revisions", own, []string(nil))
			noStages(e)

			// Publishing the recipe itself makes it our own, with our time.
			if err := e.send(rev, set.without("metadata/sign.txt")); err != nil {
				t.Fatal(err)
			}
			got, err = e.Latest(t.Context(), rev)
			wantError(t, err, nil)
			if !got.Time.After(published.Time) {
				t.Errorf("time is %v, want later than upstream's %v", got.Time, published.Time)
			}
			own, err = e.OwnRevisions(t.Context(), hi)
			wantError(t, err, nil)
			wantEqual(t, "own revisions", own, []string{rev.RRev})
			wantEqual(t, "recipe", content(t, e, rev), set)
		})
	}
}

func TestAdoptRefusals(t *testing.T) {
	t.Parallel()
	set := recipe("class A", nil, files{"a.c": "int a;"})
	p := pkg(info2, files{"a": "a"})
	tests := map[string]struct {
		change func(*upstream)
		want   error
	}{
		"down":        {func(u *upstream) { u.down = true }, conan.ErrUnavailable},
		"no sources":  {func(u *upstream) { u.hide = "conan_sources.tgz" }, conan.ErrIncomplete},
		"no manifest": {func(u *upstream) { u.hide = "conanmanifest.txt" }, conan.ErrNotFound},
		"other revision": {func(u *upstream) {
			u.serve = u.publishRecipe(conan.Ref{Name: "other", Version: "1.0"}, plainRecipe("B"))
		}, conan.ErrConflict},
		"forged manifest": {func(u *upstream) { u.forge = "conanmanifest.txt" }, conan.ErrUnavailable},
		"forged sources":  {func(u *upstream) { u.forge = "conan_sources.tgz" }, conan.ErrUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t)
			rev := up.publishRecipe(hi, set)
			e := newEnv(t, func(o *Options) { o.Upstream = func(conan.Actor) conan.Source { return source{up} } })
			test.change(up)
			prev := rev
			prev.PackageID, prev.PRev = pid2, p.rev()
			wantError(t, e.send(prev, p), test.want)
			wantEqual(t, "recipe revisions", ids(t, e, rev.Recipe()), []string(nil))
			*up = upstream{env: up.env}
			wantError(t, e.send(prev, p), nil)
			wantEqual(t, "package", content(t, e, prev), p)
		})
	}
}

func TestMetadataAdoptsRecipe(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	set, p := plainRecipe("A"), pkg(info2, files{"a": "a"})
	rev := up.publishRecipe(hi, set)
	prev := up.publishPackage(rev, pid2, p)
	e := newEnv(t, func(o *Options) { o.Upstream = func(conan.Actor) conan.Source { return source{up} } })
	wantError(t, e.put(prev, "metadata/log.txt", "log"), conan.ErrNotFound, "upstream")
	wantError(t, e.put(prev, conan.InfoFile, p[conan.InfoFile]), nil)
	wantError(t, e.put(prev, "metadata/log.txt", "log"), nil) // its package is being uploaded
	wantError(t, e.put(rev, "metadata/log.txt", "log"), nil)
	wantEqual(t, "recipe", content(t, e, rev), set.with(files{"metadata/log.txt": "log"}))
}

// A check that takes long goes on without the request, which is told to come again.
func TestSlowCheck(t *testing.T) {
	t.Parallel()
	for name, v1 := range map[string]bool{"declared": true, "undeclared": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t)
			rev := up.publishRecipe(hi, plainRecipe("A"))
			e := newEnv(t, func(o *Options) {
				o.Upstream, o.CheckTimeout = func(conan.Actor) conan.Source { return source{up} }, time.Millisecond
			})
			up.release = make(chan struct{})
			p := pkg(info2, files{"a": "a"})
			prev := rev
			prev.PackageID, prev.PRev = pid2, p.rev()
			send := func(name string) error { return e.put(prev, name, p[name]) }
			if v1 {
				target := conan.Revision{Ref: hi, PackageID: pid2}
				stage, err := e.Stage(t.Context(), target, conan.Actor{Name: "ann"}, p.sizes())
				wantError(t, err, nil)
				send = func(name string) error { return e.putStage(stage, target, name, p[name]) }
			}
			wantError(t, send("conan_package.tgz"), nil)
			wantError(t, send("conaninfo.txt"), nil)
			for range 2 {
				wantError(t, send("conanmanifest.txt"), conan.ErrConflict, "send again")
			}
			close(up.release)
			e.busy.Wait()
			e.checkTimeout = time.Minute
			wantError(t, send("conanmanifest.txt"), nil)
			wantEqual(t, "package", content(t, e, prev), p)
			if n := up.opened.Load(); n != 2 {
				t.Errorf("upstream was asked for %d files, want 2", n)
			}
			noStages(e)
		})
	}
}

func TestCloseEndsChecks(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	rev := up.publishRecipe(hi, plainRecipe("A"))
	up.release = make(chan struct{})
	e := newEnv(t, func(o *Options) {
		o.Upstream, o.CheckTimeout = func(conan.Actor) conan.Source { return source{up} }, time.Millisecond
	})
	p := pkg(info2, files{"a": "a"})
	prev := rev
	prev.PackageID, prev.PRev = pid2, p.rev()
	wantError(t, e.send(prev, p), conan.ErrConflict)
	e.Close()
	wantError(t, e.put(prev, conan.ManifestFile, p[conan.ManifestFile]), conan.ErrConflict, "stopping")
}

func TestUpstreamUnknown(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	e := newEnv(t, func(o *Options) { o.Upstream = func(conan.Actor) conan.Source { return source{up} } })
	p := pkg(info1("x"), files{"a": "a"})
	wantError(t, e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p), conan.ErrNotFound, "Recipe not found")
	up.down = true
	wantError(t, e.sendV1(conan.Revision{Ref: hi, PackageID: pid1}, p), conan.ErrUnavailable)
}

// A blob that the index names and the store lost is not "not found".
func TestLostBytes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("A")
	rev := e.publishRecipe(hi, set)
	list, err := e.Snapshot(t.Context(), rev)
	wantError(t, err, nil)
	f, _ := list.Find(conan.RecipeFile)
	if _, err := e.blobs.Delete(t.Context(), blob.Digest(f.SHA256), func() (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	_, err = e.Open(t.Context(), rev, conan.RecipeFile)
	wantError(t, err, conan.ErrUnavailable, "missing")
	if errors.Is(err, conan.ErrNotFound) {
		t.Error("it says not found")
	}
	wantError(t, e.send(rev, set), nil)
	wantEqual(t, "content after uploading again", content(t, e, rev), set)
}
