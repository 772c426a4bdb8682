package localstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/retention"
)

var keeper = conan.Actor{Name: "server:retention"}

// policyOf is a policy with one rule for everything.
func policyOf(t *testing.T, r retention.Rule, keeps ...retention.Keep) retention.Policy {
	t.Helper()
	var err error
	r.Pattern, err = conan.ParseGlob("*")
	wantError(t, err, nil)
	return retention.Policy{Rules: []retention.Rule{r}, Keeps: keeps}
}

// said are decisions as a person reads them, sorted.
func said(decisions []retention.Decision) []string {
	out := []string{}
	for _, d := range decisions {
		out = append(out, fmt.Sprintf("%s %v %s", d.Revision, d.Goes, d.Reason))
	}
	slices.Sort(out)
	return out
}

// There are two recipe revisions of one reference, the older one with a package, and one of
// another.
func retentionEnv(t *testing.T) (e *env, older, pkg, newer, other conan.Revision) {
	t.Helper()
	e = newEnv(t, func(o *Options) { o.TrashFor = time.Hour })
	older = e.publishRecipe(hi, plainRecipe("class A"))
	pkg = e.publishPackage(older, pid2, packedAs(files{"a": "a"}, regular("a", 0o644)))
	e.clock.advance(time.Hour)
	newer = e.publishRecipe(hi, plainRecipe("class B"))
	other = e.publishRecipe(conan.Ref{Name: "other", Version: "1"}, plainRecipe("class C"))
	e.clock.advance(23 * time.Hour)
	return e, older, pkg, newer, other
}

func TestRetain(t *testing.T) {
	t.Parallel()
	e, older, pkg, newer, other := retentionEnv(t)
	e.Used(newer)
	p := policyOf(t, retention.Rule{UnusedFor: 2 * time.Hour}, func(rev conan.Revision) (string, bool) { return "hidden: bad", rev == other })
	want := []string{
		fmt.Sprintf("%s true unused for 1d, rule 1", older), fmt.Sprintf("%s true unused for 1d, rule 1", pkg),
		fmt.Sprintf("%s false hidden: bad", other),
	}
	slices.Sort(want)
	for _, dry := range []bool{true, false} {
		decisions, err := e.Retain(t.Context(), p, keeper, dry)
		wantError(t, err, nil)
		wantEqual(t, fmt.Sprint("dry run: ", dry), said(decisions), want)
	}
	wantEqual(t, "what is there", e.tree(hi), map[string]map[string][]string{newer.RRev: {}})
	trash, err := e.Trash(t.Context(), 0, 10)
	wantError(t, err, nil)
	wantEqual(t, "the trash", len(trash), 2)
	wantEqual(t, "who removed", trash[0].By, keeper.Name)
	lines, err := e.db.AuditLines(t.Context(), index.AuditFilter{Action: index.ActionRetention, Limit: 10})
	wantError(t, err, nil)
	wantEqual(t, "audit", []string{lines[0].Target}, []string{pkg.String() + ", " + older.String()})
	_, err = e.Restore(t.Context(), []conan.Revision{older}, keeper, false)
	wantError(t, err, nil)
	decisions, err := e.Retain(t.Context(), p, keeper, false)
	wantError(t, err, nil)
	wantEqual(t, "after a restoration", said(decisions), []string{fmt.Sprintf("%s false hidden: bad", other)})
}

// What is used or published between the plan and the transaction stays.
func TestRetentionDecidesAgain(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(e *env, older, pkg conan.Revision){
		"a use":          func(e *env, older, pkg conan.Revision) { e.Used(pkg) },
		"a use, written": func(e *env, older, pkg conan.Revision) { e.Used(pkg); wantError(e.t, e.WriteUses(e.t.Context()), nil) },
		"a publication": func(e *env, older, pkg conan.Revision) {
			e.publishPackage(older, pid2, packedAs(files{"a": "a"}, regular("a", 0o644)))
		},
		"an upload under way": func(e *env, older, pkg conan.Revision) { stageSomething(e, pkg) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, older, pkg, newer, _ := retentionEnv(t)
			var once sync.Once
			p := policyOf(t, retention.Rule{KeepRecipes: 1}, func(conan.Revision) (string, bool) {
				once.Do(func() {
					e.clock.advance(time.Second)
					between(e, older, pkg)
				})
				return "", false
			})
			decisions, err := e.Retain(t.Context(), p, keeper, false)
			wantError(t, err, nil)
			for _, d := range decisions {
				if d.Goes {
					t.Errorf("%s goes: %s", d.Revision, d.Reason)
				}
			}
			wantEqual(t, "decisions", len(decisions), 2)
			wantEqual(t, "what is there", e.tree(hi), map[string]map[string][]string{older.RRev: {pid2: {pkg.PRev}}, newer.RRev: {}})
		})
	}
}

// stageSomething begins an upload of a package.
func stageSomething(e *env, pkg conan.Revision) {
	pkg.PRev = strings.Repeat("0", 32)
	wantError(e.t, e.put(pkg, conan.InfoFile, "[settings]\n"), nil)
}

// A second run is refused while one is under way; a dry run is not.
func TestOneRetentionRunAtOnce(t *testing.T) {
	t.Parallel()
	e, _, _, _, _ := retentionEnv(t)
	var second, dry error
	var once sync.Once
	none := policyOf(t, retention.Rule{KeepRecipes: 9})
	p := policyOf(t, retention.Rule{KeepRecipes: 1}, func(conan.Revision) (string, bool) {
		once.Do(func() {
			_, second = e.Retain(t.Context(), none, keeper, false)
			_, dry = e.Retain(t.Context(), none, keeper, true)
		})
		return "held", true
	})
	_, err := e.Retain(t.Context(), p, keeper, false)
	wantError(t, err, nil)
	wantError(t, second, conan.ErrConflict)
	wantError(t, dry, nil)
	_, err = e.Retain(t.Context(), none, keeper, false)
	wantError(t, err, nil)
}

// Uses are written when many are noted and when the store is closed, and none is lost if the index
// fails.
func TestUsesAreWritten(t *testing.T) {
	t.Parallel()
	e, older, pkg, newer, _ := retentionEnv(t)
	lastUse := func(rev conan.Revision) time.Time {
		t.Helper()
		found, err := e.db.UsesOf(t.Context(), e.member, rev.Ref)
		wantError(t, err, nil)
		i := slices.IndexFunc(found.Revisions, func(r index.UsedRevision) bool { return r.Revision == rev })
		return found.Revisions[i].LastUse
	}
	e.Used(pkg)
	for i := range maxUses {
		e.Used(conan.Revision{Ref: hi, RRev: fmt.Sprint("none", i)})
	}
	wantEqual(t, "when there are many", lastUse(older), e.clock.Now())

	e.clock.advance(time.Hour)
	e.Used(newer)
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := e.WriteUses(ended); err == nil {
		t.Fatal("a write whose context ended works")
	}
	before := e.clock.Now()
	e.clock.advance(time.Hour)
	e.Used(pkg)
	e.Close()
	wantEqual(t, "a use whose write failed", lastUse(newer), before)
	wantEqual(t, "at the end", lastUse(pkg), e.clock.Now())
}

// TestRunsDoWhatDryRunsTell: for random revisions, uses and rules a run decides as the dry run did,
// and exactly what goes is in the trash and no longer there.
func TestRunsDoWhatDryRunsTell(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(o *Options) { o.TrashFor = time.Hour })
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		ref := conan.Ref{Name: "drawn", Version: strconv.Itoa(n)}
		all := e.drawRevisions(r, ref)
		e.clock.advance(30 * time.Minute)
		glob, err := conan.ParseGlob(ref.String())
		wantError(t, err, nil)
		rule := retention.Rule{
			Pattern: glob, UnusedFor: rapid.SampledFrom([]time.Duration{time.Minute, 61 * time.Minute}).Draw(r, "unused"),
			KeepRecipes: rapid.IntRange(0, 2).Draw(r, "recipes"), KeepPackages: rapid.IntRange(0, 2).Draw(r, "packages"),
		}
		rooted := rapid.SampledFrom(all).Draw(r, "rooted")
		p := retention.Policy{Rules: []retention.Rule{rule}, Keeps: []retention.Keep{func(rev conan.Revision) (string, bool) { return "rooted", rev == rooted }}}
		told, err := e.Retain(t.Context(), p, keeper, true)
		wantError(t, err, nil)
		did, err := e.Retain(t.Context(), p, keeper, false)
		wantError(t, err, nil)
		wantEqual(t, "decisions", did, told)

		gone := make(map[conan.Revision]bool)
		for _, rev := range going(did) {
			gone[rev] = true
		}
		trash, err := e.db.TrashedOf(t.Context(), e.member, ref)
		wantError(t, err, nil)
		wantEqual(t, "in the trash", len(trash), len(gone))
		for _, rev := range all {
			_, err := e.Snapshot(t.Context(), rev) // of a package also its recipe is looked for
			if there := err == nil; there == gone[rev] || gone[rooted] {
				r.Fatalf("%s: there %v, went %v", rev, there, gone[rev])
			}
		}
	})
}

// drawRevisions publishes revisions of a reference and uses some of them an hour later.
func (e *env) drawRevisions(r *rapid.T, ref conan.Ref) (all []conan.Revision) {
	for i := range rapid.IntRange(1, 3).Draw(r, "recipe revisions") {
		rev := conan.Revision{Ref: ref, RRev: strconv.Itoa(i)}
		all = append(all, rev)
		for j := range rapid.IntRange(0, 3).Draw(r, "package revisions") {
			rev.PackageID, rev.PRev = rapid.SampledFrom([]string{"a", "b"}).Draw(r, "id"), strconv.Itoa(j)
			all = append(all, rev)
		}
	}
	for i, rev := range all {
		o := index.PutOptions{Time: time.Unix(int64(i), 0)}
		wantError(e.t, e.db.PutRevision(e.t.Context(), e.member, rev, o), nil) // a use by the clock of the machine
	}
	e.clock.advance(time.Since(e.clock.Now()) + time.Hour)
	for _, rev := range all {
		if rapid.Bool().Draw(r, "used") {
			e.Used(rev)
		}
	}
	return all
}
