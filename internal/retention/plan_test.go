package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// rev makes a revision of lib/1 from "r1" or "r1:id#p1" that was used some days ago.
func rev(text string, daysAgo int) Revision {
	recipe, pkg, _ := strings.Cut(text, ":")
	id, prev, _ := strings.Cut(pkg, "#")
	r := conan.Revision{Ref: conan.Ref{Name: "lib", Version: "1"}, RRev: recipe, PackageID: id, PRev: prev}
	return Revision{Revision: r, LastUse: noon.Add(-time.Duration(daysAgo) * day)}
}

func pinned(r Revision) Revision {
	r.PinnedBy = "ann"
	return r
}

func adopted(r Revision) Revision {
	r.Adopted = true
	return r
}

func rule(t interface{ Fatal(...any) }, pattern string, r Rule) Rule {
	var err error
	if r.Pattern, err = conan.ParseGlob(pattern); err != nil {
		t.Fatal(err)
	}
	return r
}

// keep keeps what begins with one of the texts.
func keep(texts ...string) Keep {
	return func(r conan.Revision) (string, bool) {
		short := strings.TrimPrefix(r.String(), "lib/1#")
		return "held", slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(short, text) })
	}
}

// lines are decisions as a person reads them.
func lines(decisions []Decision) []string {
	out := []string{}
	for _, d := range decisions {
		verb := "stays"
		if d.Goes {
			verb = "goes"
		}
		out = append(out, fmt.Sprintf("%s %s: %s", strings.TrimPrefix(d.Revision.String(), "lib/1#"), verb, d.Reason))
	}
	return out
}

func TestPlan(t *testing.T) {
	other := rule(t, "other/*", Rule{KeepRecipes: 1})
	for name, tt := range map[string]struct {
		rule  Rule
		keeps []Keep
		revs  []Revision // the last published first
		want  []string
	}{
		"nothing is old enough": {
			rule: Rule{UnusedFor: 30 * day}, revs: []Revision{rev("r1", 29), rev("r1:a#p", 29)}, want: []string{},
		},
		"unused packages, and a recipe with its last one": {
			rule: Rule{UnusedFor: 30 * day},
			revs: []Revision{rev("r2", 33), rev("r2:a#p", 30), rev("r1:a#p", 40), rev("r1:b#p", 1), rev("r1", 40)},
			want: []string{
				"r2:a#p goes: unused for 30d, rule 2", "r1:a#p goes: unused for 40d, rule 2", "r2 goes: unused for 30d, rule 2",
			},
		},
		"the newest recipes stay with their packages": {
			rule: Rule{KeepRecipes: 2},
			revs: []Revision{rev("r4", 0), rev("r3", 9), rev("r3:a#p", 9), rev("r2", 0), rev("r1:a#p", 0), rev("r1", 0)},
			want: []string{
				"r1:a#p goes: of the 4th newest recipe revision, rule 2 keeps 2",
				"r2 goes: 3rd newest recipe revision, rule 2 keeps 2", "r1 goes: 4th newest recipe revision, rule 2 keeps 2",
			},
		},
		"the newest revisions of each package id stay": {
			rule: Rule{KeepPackages: 1},
			revs: []Revision{rev("r2", 9), rev("r1:a#p3", 9), rev("r1:a#p2", 9), rev("r1:b#p1", 9), rev("r1:a#p1", 9), rev("r1", 9)},
			want: []string{
				"r1:a#p2 goes: 2nd newest revision of its package, rule 2 keeps 1",
				"r1:a#p1 goes: 3rd newest revision of its package, rule 2 keeps 1",
			},
		},
		"both numbers": {
			rule: Rule{KeepRecipes: 1, KeepPackages: 1},
			revs: []Revision{rev("r2", 9), rev("r2:a#p2", 9), rev("r2:a#p1", 9), rev("r1:a#p1", 9), rev("r1", 9)},
			want: []string{
				"r2:a#p1 goes: 2nd newest revision of its package, rule 2 keeps 1",
				"r1:a#p1 goes: of the 2nd newest recipe revision, rule 2 keeps 1",
				"r1 goes: 2nd newest recipe revision, rule 2 keeps 1",
			},
		},
		"all conditions hold": {
			rule: Rule{UnusedFor: 30 * day, KeepRecipes: 1},
			revs: []Revision{rev("r3", 99), rev("r3:a#p", 99), rev("r2:a#p", 10), rev("r2:b#p", 99), rev("r2", 99), rev("r1", 31)},
			want: []string{
				"r2:b#p goes: unused for 99d, of the 2nd newest recipe revision, rule 2 keeps 1",
				"r1 goes: unused for 31d, 3rd newest recipe revision, rule 2 keeps 1",
			},
		},
		"a number of packages lets no recipe go": {
			rule: Rule{UnusedFor: 30 * day, KeepPackages: 1},
			revs: []Revision{rev("r1", 99), rev("r1:a#p2", 99), rev("r1:a#p1", 99)},
			want: []string{"r1:a#p1 goes: unused for 99d, 2nd newest revision of its package, rule 2 keeps 1"},
		},
		"what is kept stays, and a recipe with it": {
			rule: Rule{UnusedFor: 30 * day}, keeps: []Keep{keep("r1:a"), keep("r2")},
			revs: []Revision{rev("r2", 99), rev("r1", 99), rev("r1:a#p", 99), rev("r1:b#p", 99)},
			want: []string{
				"r1:a#p stays: held", "r1:b#p goes: unused for 99d, rule 2", "r2 stays: held", "r1 stays: has packages that stay",
			},
		},
		"an adopted recipe goes with its last package": {
			rule: Rule{KeepRecipes: 9, KeepPackages: 1},
			revs: []Revision{adopted(rev("r1", 9)), rev("r1:a#p2", 9), rev("r1:a#p1", 9)},
			want: []string{"r1:a#p1 goes: 2nd newest revision of its package, rule 2 keeps 1"},
		},
		"an adopted recipe without packages that stay": {
			rule: Rule{UnusedFor: day},
			revs: []Revision{adopted(rev("r1", 9)), rev("r1:a#p1", 9)},
			want: []string{"r1:a#p1 goes: unused for 9d, rule 2", "r1 goes: unused for 9d, the last package of the adopted recipe goes"},
		},
		"packages whose recipe is not there": {
			rule: Rule{UnusedFor: day}, revs: []Revision{rev("r1:a#p1", 9)}, want: []string{},
		},
		"pinned": {
			rule: Rule{UnusedFor: 30 * day}, revs: []Revision{pinned(rev("r1", 40)), rev("r1:a#p", 40), pinned(rev("r1:b#p", 40))},
			want: []string{"r1:a#p goes: unused for 40d, rule 1", "r1:b#p stays: pinned by ann", "r1 stays: pinned by ann"},
		},
		"used since the run began": {
			rule: Rule{KeepRecipes: 1}, revs: []Revision{rev("r3", 1), rev("r2:a#p", -1), rev("r2", 1), rev("r1", -1)},
			want: []string{
				"r2:a#p stays: used since the run began", "r2 stays: used since the run began", "r1 stays: used since the run began",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.rule.Pattern = rule(t, "lib/*", Rule{}).Pattern
			p := Policy{Rules: []Rule{other, tt.rule, rule(t, "*", Rule{KeepRecipes: 1})}, Keeps: tt.keeps}
			if diff := cmp.Diff(tt.want, lines(p.Plan(tt.revs, noon))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPlanOfWhatNoRuleIsAbout(t *testing.T) {
	p := Policy{Rules: []Rule{rule(t, "other/*", Rule{UnusedFor: 1})}}
	if got := p.Plan([]Revision{rev("r1", 99)}, noon); got != nil {
		t.Errorf("decided %v", got)
	}
	for ref, want := range map[conan.Ref]bool{{Name: "lib", Version: "1"}: false, {Name: "other", Version: "1"}: true} {
		if p.Concerns(ref) != want {
			t.Errorf("a rule is about %s: %v", ref, !want)
		}
	}
	if got := p.Plan(nil, noon); got != nil {
		t.Errorf("decided %v about nothing", got)
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 102: "102nd", 111: "111th"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{33*day + time.Hour: "33d", 5 * time.Hour: "5h", 90 * time.Second: "1m", 8 * time.Second: "8s"} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// drawRevisions draws the revisions of a reference, the last published first.
func drawRevisions(t *rapid.T) []Revision {
	var revs []Revision
	for i := range rapid.IntRange(1, 5).Draw(t, "recipes") {
		r := rev(fmt.Sprint("r", i), rapid.IntRange(-1, 60).Draw(t, "recipe used"))
		r.Adopted = rapid.Bool().Draw(t, "adopted")
		if rapid.IntRange(0, 5).Draw(t, "published") > 0 {
			revs = append(revs, r)
		}
		for j := range rapid.IntRange(0, 4).Draw(t, "packages") {
			id := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id")
			revs = append(revs, rev(fmt.Sprintf("r%d:%s#p%d", i, id, j), rapid.IntRange(-1, 60).Draw(t, "package used")))
		}
	}
	return rapid.Permutation(revs).Draw(t, "order")
}

// TestPlanNeverBreaks looks at what random plans leave: never a package without its recipe, never
// less than the rule keeps, nothing gone that is kept or was used; and what a plan leaves, a second
// one leaves too, but for recipes that have lost their packages.
func TestPlanNeverBreaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rule(t, "*", Rule{
			UnusedFor:   time.Duration(rapid.SampledFrom([]int{0, 1, 30}).Draw(t, "unused days")) * day,
			KeepRecipes: rapid.IntRange(0, 3).Draw(t, "keep recipes"), KeepPackages: rapid.IntRange(0, 2).Draw(t, "keep packages"),
		})
		if r.UnusedFor == 0 && r.KeepRecipes == 0 && r.KeepPackages == 0 {
			r.KeepRecipes = 1
		}
		revs := drawRevisions(t)
		held := keep(rapid.SliceOf(rapid.SampledFrom([]string{"r0", "r1:a", "r2:b#p1", "r3"})).Draw(t, "kept")...)
		p := Policy{Rules: []Rule{r}, Keeps: []Keep{held}}
		decisions := p.Plan(revs, noon)
		checkPlan(t, r, revs, held, decisions)
		gone := goneOf(decisions)
		left := slices.DeleteFunc(slices.Clone(revs), func(rev Revision) bool { return gone[rev.Revision] })
		for _, d := range p.Plan(left, noon) {
			if d.Goes && d.IsPackage() {
				t.Fatalf("a second run removes %v", d)
			}
		}
	})
}

func goneOf(decisions []Decision) map[conan.Revision]bool {
	gone := make(map[conan.Revision]bool)
	for _, d := range decisions {
		if d.Goes {
			gone[d.Revision] = true
		}
	}
	return gone
}

// checkPlan judges a plan by what it leaves.
func checkPlan(t *rapid.T, r Rule, revs []Revision, held Keep, decisions []Decision) {
	there, recipes := make(map[conan.Revision]bool), 0
	for _, rev := range revs {
		there[rev.Revision] = true
	}
	gone := goneOf(decisions)
	if len(decisions) > len(revs) {
		t.Fatalf("%d decisions about %d revisions", len(decisions), len(revs))
	}
	for _, rev := range revs {
		_, is := held(rev.Revision)
		unpublished := rev.IsPackage() && !there[rev.Recipe()]
		switch {
		case gone[rev.Revision] && (is || unpublished || rev.LastUse.After(noon.Add(-r.UnusedFor))):
			t.Fatalf("%v goes", rev)
		case rev.IsPackage() && !unpublished && !gone[rev.Revision] && gone[rev.Recipe()]:
			t.Fatalf("%v stays without its recipe", rev)
		}
		if !rev.IsPackage() {
			recipes++
			if gone[rev.Revision] && !rev.Adopted && recipes <= r.KeepRecipes {
				t.Fatalf("%v goes, and %d recipe revisions are to stay", rev, r.KeepRecipes)
			}
		}
	}
}
