package localstore

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// Uploaders of different content at the same time leave complete revisions, never a mix, and
// readers see nothing else.
func TestConcurrentUploaders(t *testing.T) {
	t.Parallel()
	const uploads = 12
	ways := map[string]func(e *env, set files) error{
		"pinned":            func(e *env, set files) error { return e.send(conan.Revision{Ref: hi, RRev: set.rev()}, set) },
		"declared":          func(e *env, set files) error { return e.sendV1(conan.Revision{Ref: hi}, set) },
		"one stage for all": func(e *env, set files) error { return e.send(conan.Revision{Ref: hi}, set) },
	}
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, onDisk(t))
			sets := make(map[string]files)
			var list []files
			for i := range uploads {
				set := recipe(fmt.Sprintf("class A%d", i/2), files{"x.txt": fmt.Sprint(i / 2)}, files{"a.c": fmt.Sprint(i / 2)})
				set["conan_export.tgz"] = tgz(files{"x.txt": fmt.Sprint(i / 2)}, gzip.BestSpeed+i%2) // two packings of each
				sets[set.rev()] = set
				list = append(list, set)
			}
			stop := make(chan struct{})
			var readers, uploaders sync.WaitGroup
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						e.checkComplete(sets)
					}
				}
			})
			for _, set := range list {
				uploaders.Go(func() {
					err := send(e, set)
					if err != nil && name != "one stage for all" {
						t.Error(err)
					}
					if err == nil && !contains(ids(t, e, conan.Revision{Ref: hi}), set.rev()) && name != "one stage for all" {
						t.Errorf("%s was taken and is not there", set.rev())
					}
				})
			}
			uploaders.Wait()
			close(stop)
			readers.Wait()
			e.checkComplete(sets)
			if n := len(ids(t, e, conan.Revision{Ref: hi})); name != "one stage for all" && n != uploads/2 {
				t.Errorf("%d revisions, want %d", n, uploads/2)
			}
		})
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// checkComplete reads every visible recipe revision: each has the contents of one set.
func (e *env) checkComplete(sets map[string]files) {
	list, err := e.Revisions(context.Background(), conan.Revision{Ref: hi})
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		e.t.Error(err)
	}
	for _, r := range list {
		rev := conan.Revision{Ref: hi, RRev: r.ID}
		files, err := e.Snapshot(context.Background(), rev)
		if err != nil {
			e.t.Error(err)
			continue
		}
		var names []string
		archives := make(map[string]*conan.Listing)
		check := conan.NewChecks().Begin(e.t.Context())
		for _, f := range files {
			names = append(names, f.Name)
			text := readFile(e.t, e, rev, f.Name)
			if !conan.IsArchive(f.Name) {
				if text != sets[r.ID][f.Name] {
					e.t.Errorf("%s of %s is not the one that was sent", f.Name, rev)
				}
				continue
			}
			if archives[f.Name], err = check.List(f.Name, strings.NewReader(text)); err != nil {
				e.t.Error(err)
			}
		}
		if diff := cmp.Diff(sets[r.ID].names(), names); diff != "" {
			e.t.Errorf("names of %s (-want +got):\n%s", rev, diff)
			continue
		}
		small := map[string]string{conan.RecipeFile: md5Of(sets[r.ID][conan.RecipeFile])}
		if extra, err := check.CompareRevision(sets[r.ID].manifest(), false, archives, small); err != nil || extra != "" {
			e.t.Errorf("%s is a mix: %s, %v", rev, extra, err)
		}
	}
}

// Packages of one recipe uploaded and removed at the same time: a package is whole or not there.
func TestConcurrentPackages(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a := plainRecipe("A")
	rev := e.publishRecipe(hi, a)
	var all sync.WaitGroup
	for i := range 8 {
		info := fmt.Sprintf("[settings]\nbuild_type=%d\n", i)
		p := pkg(info, files{"a": fmt.Sprint(i)})
		all.Go(func() {
			prev := rev
			prev.PackageID, prev.PRev = sha1Of(info), p.rev()
			if err := e.send(prev, p); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				return
			}
			if err := e.Remove(t.Context(), conan.Removal{Revision: rev, PackageIDs: []string{prev.PackageID}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := e.Packages(t.Context(), rev, true)
	wantError(t, err, nil)
	if len(list) != 4 {
		t.Errorf("%d packages, want 4", len(list))
	}
	noStages(e)
}

// A recipe removed while its packages come: what is left is visible and whole, or not there at all.
func TestPackageAgainstRemovedRecipe(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, p := plainRecipe("A"), pkg(info2, files{"a": "a"})
	for range 20 {
		rev := e.publishRecipe(hi, a)
		prev := rev
		prev.PackageID, prev.PRev = pid2, p.rev()
		var both sync.WaitGroup
		both.Go(func() {
			err := e.send(prev, p)
			if err != nil && !errors.Is(err, conan.ErrNotFound) && !errors.Is(err, conan.ErrConflict) && !errors.Is(err, conan.ErrIncomplete) {
				t.Error(err)
			}
		})
		both.Go(func() {
			if err := e.Remove(t.Context(), conan.Removal{Revision: conan.Revision{Ref: hi}}); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		refs, err := e.db.Refs(t.Context(), e.member)
		wantError(t, err, nil)
		wantEqual(t, "references after the removal", refs, []conan.Ref(nil))
	}
}

// Who asks while an earlier state of the stage is being judged gets an answer about his own.
func TestJoiningAnEarlierCheck(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("A")
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	reading, release := make(chan struct{}), make(chan struct{})
	e.blobs.(*memStore).opened = sync.OnceFunc(func() {
		close(reading)
		<-release
	})
	var both sync.WaitGroup
	send := func() {
		both.Go(func() {
			if err := e.put(rev, conan.ManifestFile, set[conan.ManifestFile]); err != nil {
				t.Error(err)
			}
		})
	}
	send() // finds no conanfile.py in the stage
	<-reading
	wantError(t, e.put(rev, "conanfile.py", "A"), nil)
	send()
	for joined := false; !joined; runtime.Gosched() {
		e.mu.Lock()
		joined = e.works[e.setID(rev, "ann")].asked == 2
		e.mu.Unlock()
	}
	close(release)
	both.Wait()
	wantEqual(t, "content", content(t, e, rev), set)
	noStages(e)
}
