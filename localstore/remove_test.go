package localstore

import (
	"context"
	"testing"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// tree is what readers see of a reference: recipe revision → package id → package revisions.
func (e *env) tree(ref conan.Ref) map[string]map[string][]string {
	out := make(map[string]map[string][]string)
	for _, rrev := range ids(e.t, e, conan.Revision{Ref: ref}) {
		rev := conan.Revision{Ref: ref, RRev: rrev}
		list, err := e.Packages(e.t.Context(), rev, true)
		wantError(e.t, err, nil)
		out[rrev] = make(map[string][]string)
		for _, p := range list {
			rev.PackageID = p.ID
			out[rrev][p.ID] = ids(e.t, e, rev)
		}
	}
	return out
}

func TestRemove(t *testing.T) {
	t.Parallel()
	a, b := plainRecipe("A"), plainRecipe("B")
	A, B := a.rev(), b.rev()
	info3 := "[settings]\nos=Windows\n"
	pid3 := sha1Of(info3)
	p, p2, q := pkg(info2, files{"a": "a"}), pkg(info2, files{"a": "b"}), pkg(info3, files{"a": "a"})
	P, P2, Q := p.rev(), p2.rev(), q.rev()
	type tree = map[string]map[string][]string
	whole := tree{A: {pid2: {P}}, B: {pid2: {P2, P}, pid3: {Q}}}
	rev := func(rrev, id, prev string) conan.Revision {
		return conan.Revision{Ref: hi, RRev: rrev, PackageID: id, PRev: prev}
	}
	tests := map[string]struct {
		removal conan.Removal
		want    tree // nil: refused with err
		err     error
	}{
		"reference":                   {conan.Removal{Revision: rev("", "", "")}, tree{}, nil},
		"recipe revision":             {conan.Removal{Revision: rev(B, "", "")}, tree{A: {pid2: {P}}}, nil},
		"unknown recipe revision":     {conan.Removal{Revision: rev(P, "", "")}, nil, conan.ErrNotFound},
		"package revision":            {conan.Removal{Revision: rev(B, pid2, P2)}, tree{A: {pid2: {P}}, B: {pid2: {P}, pid3: {Q}}}, nil},
		"last package revision":       {conan.Removal{Revision: rev(A, pid2, P)}, tree{A: {}, B: {pid2: {P2, P}, pid3: {Q}}}, nil},
		"unknown package revision":    {conan.Removal{Revision: rev(A, pid2, P2)}, nil, conan.ErrNotFound},
		"package id":                  {conan.Removal{Revision: rev(B, pid2, "")}, tree{A: {pid2: {P}}, B: {pid3: {Q}}}, nil},
		"unknown package id":          {conan.Removal{Revision: rev(A, pid3, "")}, nil, conan.ErrNotFound},
		"all packages of a revision":  {conan.Removal{Revision: rev(B, "", ""), AllPackages: true}, tree{A: {pid2: {P}}, B: {}}, nil},
		"all packages":                {conan.Removal{Revision: rev("", "", ""), AllPackages: true}, tree{A: {}, B: {}}, nil},
		"all packages of unknown":     {conan.Removal{Revision: rev(P, "", ""), AllPackages: true}, nil, conan.ErrNotFound},
		"package ids":                 {conan.Removal{Revision: rev("", "", ""), PackageIDs: []string{pid2}}, tree{A: {}, B: {pid3: {Q}}}, nil},
		"package ids of a revision":   {conan.Removal{Revision: rev(B, "", ""), PackageIDs: []string{pid2, pid3}}, tree{A: {pid2: {P}}, B: {}}, nil},
		"package ids with an unknown": {conan.Removal{Revision: rev("", "", ""), PackageIDs: []string{pid2, pid1}}, nil, conan.ErrNotFound},
		"package id of other recipe":  {conan.Removal{Revision: rev(A, "", ""), PackageIDs: []string{pid2, pid3}}, nil, conan.ErrNotFound},
		"no package ids":              {conan.Removal{Revision: rev("", "", ""), PackageIDs: []string{}}, nil, conan.ErrInvalid},
		"unknown reference":           {conan.Removal{Revision: conan.Revision{Ref: conan.Ref{Name: "no", Version: "1"}}}, nil, conan.ErrNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			ra := e.publishRecipe(hi, a)
			e.publishPackage(ra, pid2, p)
			rb := e.publishRecipe(hi, b)
			e.publishPackage(rb, pid2, p)
			e.publishPackage(rb, pid2, p2)
			e.publishPackage(rb, pid3, q)
			wantEqual(t, "before", e.tree(hi), whole)
			test.removal.By = conan.Actor{Name: "ann"}
			wantError(t, e.Remove(t.Context(), test.removal), test.err)
			if test.want == nil {
				test.want = whole
			}
			wantEqual(t, "after", e.tree(hi), test.want)
			if test.err == nil {
				wantError(t, e.Remove(t.Context(), test.removal), conan.ErrNotFound)
			}
		})
	}
}

func TestRemoveNoPackages(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	rev := e.publishRecipe(hi, plainRecipe("A"))
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: rev, AllPackages: true}), conan.ErrNotFound)
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: rev.Recipe(), AllPackages: true}), conan.ErrNotFound)
}

func TestRemoveOldestAfterRepublish(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	a, b := plainRecipe("A"), plainRecipe("B")
	ra := e.publishRecipe(hi, a)
	e.publishRecipe(hi, b)
	e.publishRecipe(hi, a)
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: ra}), nil)
	wantEqual(t, "revisions", ids(t, e, ra.Recipe()), []string{b.rev()})
}

func TestRemoveReferenceEndsUploads(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	set := plainRecipe("B")
	e.publishRecipe(hi, plainRecipe("A"))
	target := conan.Revision{Ref: hi}
	stage, err := e.Stage(t.Context(), target, conan.Actor{Name: "ann"}, set.sizes())
	wantError(t, err, nil)
	wantError(t, e.put(conan.Revision{Ref: hi, RRev: set.rev()}, "conanfile.py", "B"), nil)
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: target}), nil)
	noStages(e)
	wantError(t, e.putStage(stage, target, "conanfile.py", "B"), conan.ErrNotFound)
	found, err := e.Search(t.Context(), conan.Pattern{})
	wantError(t, err, nil)
	wantEqual(t, "search", found, []conan.Ref{})
}

// A download that began before the removal ends well, also when the bytes are unlinked.
func TestReadAfterRemove(t *testing.T) {
	t.Parallel()
	e := newEnv(t, onDisk(t))
	rev := e.publishRecipe(hi, plainRecipe("A"))
	f, err := e.Open(t.Context(), rev, conan.RecipeFile)
	wantError(t, err, nil)
	defer f.Close()
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: rev}), nil)
	e.collect()
	b := make([]byte, 1)
	if _, err := f.Read(b); err != nil || string(b) != "A" {
		t.Errorf("read %q, %v after the removal", b, err)
	}
}

// collect works off the garbage as the sweeper of the caches does, and returns what blobs are left.
func (e *env) collect() map[blob.Digest]bool {
	e.t.Helper()
	garbage, err := e.db.Garbage(e.t.Context(), 1<<20)
	wantError(e.t, err, nil)
	for _, d := range garbage {
		_, err := e.blobs.Delete(e.t.Context(), blob.Digest(d), func() (bool, error) { return e.db.ForgetBlob(e.t.Context(), d) })
		wantError(e.t, err, nil)
	}
	left := make(map[blob.Digest]bool)
	err = e.blobs.Walk(e.t.Context(), func(d blob.Digest, _ int64) error {
		left[d] = true
		return nil
	})
	wantError(e.t, err, nil)
	return left
}

func TestSweep(t *testing.T) {
	t.Parallel()
	e := newEnv(t, onDisk(t))
	set, p := plainRecipe("A"), pkg(info2, files{"a": "a"})
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	wantError(t, e.put(rev, "conanfile.py", "A"), nil)
	e.publishPackage(rev, pid2, p) // hidden
	e.clock.advance(23 * time.Hour)
	wantError(t, e.Sweep(t.Context()), nil)
	wantError(t, e.put(rev, "conanmanifest.txt", set["conanmanifest.txt"]), nil)
	wantEqual(t, "package after a slow upload", e.tree(hi), map[string]map[string][]string{set.rev(): {pid2: {p.rev()}}})
	e.clock.advance(25 * time.Hour)
	wantError(t, e.Sweep(t.Context()), nil)
	wantEqual(t, "published is never swept", content(t, e, rev), set)

	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: rev}), nil)
	wantError(t, e.put(rev, "conanfile.py", "A"), nil)
	e.publishPackage(rev, pid2, p) // hidden
	e.clock.advance(25 * time.Hour)
	wantError(t, e.Sweep(t.Context()), nil)
	if left := e.collect(); len(left) != 0 {
		t.Errorf("%d blobs are left", len(left))
	}
	refs, err := e.db.Refs(t.Context(), e.member)
	wantError(t, err, nil)
	wantEqual(t, "references", refs, []conan.Ref(nil))
	wantError(t, e.send(rev, set), nil)
	wantEqual(t, "content", content(t, e, rev), set)
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	var asked []int64
	e := newEnv(t, func(o *Options) {
		o.CheckSpace = func(_ context.Context, n int64) error {
			asked = append(asked, n)
			return conan.ErrNoSpace
		}
		o.Lease = func(ctx context.Context, n int64) (Lease, error) { return nil, o.CheckSpace(ctx, n) }
	})
	rev := conan.Revision{Ref: hi}
	wantError(t, e.CheckSpace(t.Context(), 7), conan.ErrNoSpace)
	_, err := e.Stage(t.Context(), rev, conan.Actor{Name: "ann"}, map[string]int64{"conanfile.py": 3, "conanmanifest.txt": 4})
	wantError(t, err, conan.ErrNoSpace)
	wantError(t, e.put(rev, "conanfile.py", "A"), conan.ErrNoSpace)
	wantError(t, e.CheckSpace(t.Context(), -1), conan.ErrNoSpace)
	wantEqual(t, "bytes asked for", asked, []int64{7, 7, 1, 0})
}
