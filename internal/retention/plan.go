package retention

import (
	"fmt"
	"strconv"
	"time"

	"conanproxy/internal/conan"
)

// Plan decides about all revisions of one reference, the last published first, for a run that began
// at a time. It lists those that a rule selects, a recipe after its packages. What was used since
// the run began stays, and so does a recipe while a package of it stays. Packages whose recipe is
// not there are left out.
func (p Policy) Plan(revs []Revision, began time.Time) []Decision {
	if len(revs) == 0 {
		return nil
	}
	rule, number, ok := p.rule(revs[0].Ref)
	if !ok {
		return nil
	}
	plan := plan{Policy: p, rule: rule, number: number, began: began, recipes: make(map[string]*recipe)}
	for _, rev := range revs {
		if !rev.IsPackage() {
			r := &recipe{Revision: rev, rank: len(plan.order) + 1}
			plan.recipes[rev.RRev] = r
			plan.order = append(plan.order, r)
		}
	}
	newer := make(map[conan.Revision]int) // package without PRev → revisions so far
	for _, rev := range revs {
		r := plan.recipes[rev.RRev]
		if !rev.IsPackage() || r == nil {
			continue
		}
		newer[rev.With("")]++
		plan.decidePackage(r, rev, newer[rev.With("")])
	}
	for _, r := range plan.order {
		plan.decideRecipe(r)
	}
	return plan.decisions
}

// plan is one call of Plan.
type plan struct {
	Policy
	rule      Rule
	number    int
	began     time.Time
	recipes   map[string]*recipe // by RRev
	order     []*recipe          // the newest first
	decisions []Decision
}

// recipe is a recipe revision with what was decided about its packages.
type recipe struct {
	Revision
	rank  int // 1 is the newest
	goes  int // packages
	stays int
}

func (p *plan) decidePackage(r *recipe, rev Revision, rank int) {
	if rev.LastUse.After(r.LastUse) {
		r.LastUse = rev.LastUse // a use of a package is one of its recipe
	}
	why, selected := p.selects(rev, p.surplusPackage(r, rank))
	if selected && p.decide(rev, why, "") {
		r.goes++
		return
	}
	r.stays++
}

func (p *plan) decideRecipe(r *recipe) {
	surplus := p.surplusRecipe(r)
	if r.Adopted && r.goes > 0 && r.stays == 0 {
		surplus = cause{"the last package of the adopted recipe goes", true}
	}
	why, selected := p.selects(r.Revision, surplus)
	if !selected {
		return
	}
	needed := ""
	if r.stays > 0 {
		needed = "has packages that stay"
	}
	p.decide(r.Revision, why, needed)
}

// cause is whether the rule's numbers let a revision go, and why.
type cause struct {
	text  string // empty if the rule has no numbers
	holds bool
}

// surplusRecipe looks at the number of recipe revisions. A rule that only bounds packages lets no
// recipe go.
func (p *plan) surplusRecipe(r *recipe) cause {
	if p.rule.KeepRecipes == 0 {
		return cause{"", p.rule.KeepPackages == 0}
	}
	text := fmt.Sprintf("%s newest recipe revision, rule %d keeps %d", ordinal(r.rank), p.number, p.rule.KeepRecipes)
	return cause{text, r.rank > p.rule.KeepRecipes}
}

// surplusPackage looks at both numbers: a package goes with its recipe, or because there are newer
// revisions of it.
func (p *plan) surplusPackage(r *recipe, rank int) cause {
	if c := p.surplusRecipe(r); p.rule.KeepRecipes > 0 && c.holds {
		return cause{"of the " + c.text, true}
	}
	if p.rule.KeepPackages > 0 && rank > p.rule.KeepPackages {
		return cause{fmt.Sprintf("%s newest revision of its package, rule %d keeps %d", ordinal(rank), p.number, p.rule.KeepPackages), true}
	}
	return cause{"", p.rule.KeepRecipes == 0 && p.rule.KeepPackages == 0}
}

// selects tells whether all conditions of the rule hold for a revision, and how.
func (p *plan) selects(rev Revision, surplus cause) (why string, selected bool) {
	unused := p.began.Sub(rev.LastUse)
	if !surplus.holds || p.rule.UnusedFor > 0 && unused < p.rule.UnusedFor {
		return "", false
	}
	switch {
	case p.rule.UnusedFor == 0:
		return surplus.text, true
	case surplus.text == "":
		return fmt.Sprintf("unused for %s, rule %d", age(unused), p.number), true
	}
	return fmt.Sprintf("unused for %s, %s", age(unused), surplus.text), true
}

// decide notes whether a selected revision goes. needed is why the store needs it; empty: it does
// not.
func (p *plan) decide(rev Revision, why, needed string) (goes bool) {
	d := Decision{Revision: rev.Revision, Goes: true, Reason: why}
	if reason, stays := p.Kept(rev.Revision); stays {
		d.Goes, d.Reason = false, reason
	} else if rev.PinnedBy != "" {
		d.Goes, d.Reason = false, "pinned by "+rev.PinnedBy
	} else if rev.LastUse.After(p.began) {
		d.Goes, d.Reason = false, "used since the run began"
	} else if needed != "" {
		d.Goes, d.Reason = false, needed
	}
	p.decisions = append(p.decisions, d)
	return d.Goes
}

// age writes a duration in its largest unit, cut: 33d, 5h, 12m, 8s.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// ordinal writes 1st, 2nd, 3rd, 4th.
func ordinal(n int) string {
	suffix := "th"
	if n/10%10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
