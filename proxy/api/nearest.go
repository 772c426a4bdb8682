package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/conan"
)

// Nearest are the binaries of a recipe revision that differ least from what was wanted.
type Nearest struct {
	Recipe   string  `json:"recipe"`
	Wanted   *Wanted `json:"wanted,omitempty"` // missing: nothing is known of it
	Text     string  `json:"text"`             // one sentence
	Binaries []Near  `json:"binaries"`         // the nearest first, of equal ones the newest; at most 20
	Count    int     `json:"count"`            // of all binaries of the recipe revision
}

// Wanted is the configuration of a binary.
type Wanted struct {
	From     string            `json:"from,omitempty"` // the revision that has the package id; empty: the request
	Settings map[string]string `json:"settings"`
	Options  map[string]string `json:"options"`
	Requires []string          `json:"requires"` // as conaninfo.txt has them

	// Exact: it is all that such a binary has, so what only one side has is a difference. Else it
	// is a profile, of which recipes leave things out.
	Exact bool `json:"exact"`
}

// Near is one binary and how it differs.
type Near struct {
	Revision string       `json:"revision"` // without a package revision if that is not known
	Member   string       `json:"member,omitempty"`
	Time     *time.Time   `json:"time,omitempty"`
	Differs  []Difference `json:"differs"`
}

// Difference is one setting, option or requirement.
type Difference struct {
	Kind   string `json:"kind"` // setting, option or requirement
	Key    string `json:"key"`
	Wanted string `json:"wanted"` // empty: not there
	Has    string `json:"has"`    // empty: not there
}

// Bounds of the search for the nearest binaries.
const (
	mostNear     = 20
	mostDated    = 40              // of which the newest revision is asked for
	mostSiblings = 10              // recipe revisions, and versions, in which a package id is looked for
	nearTime     = 5 * time.Second // for both
)

// wanted reads the configuration from the query arguments; nil if there is none.
func (c *Call) wanted() (*Wanted, error) {
	w := &Wanted{Requires: append([]string{}, c.Query["requires"]...)}
	var err error
	if w.Settings, err = pairs("settings", c.Query["settings"]); err != nil {
		return nil, err
	}
	if w.Options, err = pairs("options", c.Query["options"]); err != nil {
		return nil, err
	}
	switch text := c.Query.Get("exact"); text {
	case "", "false":
	case "true":
		w.Exact = true
	default:
		return nil, fmt.Errorf("%w: exact is neither true nor false", conan.ErrInvalid)
	}
	if !w.Exact && len(w.Settings)+len(w.Options)+len(w.Requires) == 0 {
		return nil, nil
	}
	return w, nil
}

// pairs reads values of the form key=value.
func pairs(argument string, values []string) (map[string]string, error) {
	m := make(map[string]string, len(values))
	for _, text := range values {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%w: %s %.64q is not key=value", conan.ErrInvalid, argument, text)
		}
		m[key] = value
	}
	return m, nil
}

// asksForBinaries tells whether the nearest binaries are looked for: if a package id is missing, or
// if the caller said what is wanted. A member that failed is not asked again.
func (e *explanation) asksForBinaries(wanted *Wanted) bool {
	isMissing := e.asked.IsPackage() && conan.IsAbsent(e.failure)
	return e.recipe.RRev != "" && (isMissing || wanted != nil && !errors.Is(e.failure, conan.ErrUnavailable))
}

// nearest finds the binaries that differ least from what is wanted, or, if nothing is said of that,
// from what the same package id is in another recipe revision or version.
func (e *explanation) nearest(wanted *Wanted) (*Nearest, error) {
	near := &Nearest{Recipe: e.recipe.String(), Wanted: wanted, Binaries: []Near{}}
	list, err := e.trace.Packages(e.ctx, e.recipe, false)
	if status, text := e.refusal(err); err != nil && text == "" {
		return nil, err
	} else if err != nil {
		near.Text = fmt.Sprintf("the binaries cannot be listed: %d, %s", status, text)
		return near, nil
	}
	near.Count = len(list.Value)
	if near.Wanted == nil {
		near.Wanted = e.elsewhere()
	}
	switch {
	case near.Count == 0:
		near.Text = fmt.Sprintf("there is no binary of %s", e.recipe)
		return near, nil
	case near.Wanted == nil:
		near.Text = fmt.Sprintf("there are %d binaries of %s, and nothing here tells the settings and options of package id %s: name them by a profile or a graph",
			near.Count, e.recipe, e.asked.PackageID)
		return near, nil
	}
	near.Binaries = e.sorted(*near.Wanted, list.Value)
	near.Text = fmt.Sprintf("the nearest %d of %d binaries of %s", len(near.Binaries), near.Count, e.recipe)
	if near.Wanted.From != "" {
		near.Text += ", compared with " + near.Wanted.From
	}
	return near, nil
}

// sorted compares binaries, the nearest and of equal ones the newest first.
func (e *explanation) sorted(wanted Wanted, list []conan.Package) []Near {
	type compared struct {
		conan.Revision
		differs []Difference
		newest  conan.Answer[conan.RevisionTime]
	}
	all := make([]compared, len(list))
	for i, p := range list {
		all[i].Revision, all[i].differs = e.recipe, wanted.differences(conan.ParseInfo(p.Info))
		all[i].PackageID = p.ID
	}
	nearer := func(a, b compared) int {
		return cmp.Or(len(a.differs)-len(b.differs), b.newest.Value.Time.Compare(a.newest.Value.Time))
	}
	slices.SortStableFunc(all, nearer)
	all = all[:min(mostDated, len(all))]
	nodes := make([]conan.Revision, len(all))
	for i, c := range all {
		nodes[i] = c.Revision
	}
	for i, newest := range newestOf(e.ctx, e.trace, nodes) {
		all[i].newest = newest
	}
	slices.SortStableFunc(all, nearer)
	near := []Near{}
	for _, c := range all[:min(mostNear, len(all))] {
		near = append(near, Near{c.With(c.newest.Value.ID).String(), c.newest.Origin.Member, known(c.newest.Value.Time), c.differs})
	}
	return near
}

// newestOf asks for the newest revision of each node, for a short time: of one that fails or comes
// too late it is not known.
func newestOf(ctx context.Context, source conan.Source, nodes []conan.Revision) []conan.Answer[conan.RevisionTime] {
	const atOnce, longest = 8, 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	newest := make([]conan.Answer[conan.RevisionTime], len(nodes))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, node := range nodes {
		group.Go(func() error {
			if ctx.Err() == nil {
				newest[i], _ = source.Latest(ctx, node)
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	return newest
}

// differences are those of a binary, sorted by kind and key.
func (w Wanted) differences(has conan.Info) []Difference {
	differs := []Difference{}
	differs = w.compare(differs, "setting", w.Settings, has.Settings)
	differs = w.compare(differs, "option", w.Options, has.Options)
	if w.Exact || len(w.Requires) > 0 {
		differs = w.compare(differs, "requirement", byName(w.Requires), byName(has.Requires))
	}
	return differs
}

func (w Wanted) compare(differs []Difference, kind string, wanted, has map[string]string) []Difference {
	keys := maps.Clone(wanted)
	maps.Copy(keys, has)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		want, isWanted := wanted[key]
		value, isThere := has[key]
		if isWanted == isThere && want != value || isWanted != isThere && w.Exact {
			differs = append(differs, Difference{kind, key, want, value})
		}
	}
	return differs
}

// byName are requirements by their name: "zlib/1.3.Z" is zlib, 1.3.Z.
func byName(requires []string) map[string]string {
	m := make(map[string]string, len(requires))
	for _, text := range requires {
		name, rest, _ := strings.Cut(text, "/")
		m[name] = rest
	}
	return m
}

// elsewhere looks for the package id in the other recipe revisions and in the newest ones of other
// versions; nil if it is not found in time.
func (e *explanation) elsewhere() *Wanted {
	ctx, cancel := context.WithTimeout(e.ctx, nearTime)
	defer cancel()
	for _, recipe := range append(e.otherRevisions(ctx), e.otherVersions(ctx)...) {
		list, err := e.trace.Packages(ctx, recipe, false)
		if err != nil {
			continue
		}
		i := slices.IndexFunc(list.Value, func(p conan.Package) bool { return p.ID == e.asked.PackageID })
		if i < 0 || list.Value[i].Info == "" {
			continue
		}
		info := conan.ParseInfo(list.Value[i].Info)
		recipe.PackageID = e.asked.PackageID
		return &Wanted{From: recipe.String(), Settings: info.Settings, Options: info.Options, Requires: info.Requires, Exact: true}
	}
	return nil
}

// otherRevisions are the newest visible revisions of the recipe but its own.
func (e *explanation) otherRevisions(ctx context.Context) []conan.Revision {
	var recipes []conan.Revision
	list, _ := e.trace.Revisions(ctx, e.recipe)
	for _, r := range list.Value {
		if r.ID != e.recipe.RRev && !r.Hidden {
			recipes = append(recipes, e.recipe.With(r.ID))
		}
	}
	return recipes[:min(mostSiblings, len(recipes))]
}

// otherVersions are the newest revisions of the newest other versions of the recipe.
func (e *explanation) otherVersions(ctx context.Context) []conan.Revision {
	pattern, err := conan.ParsePattern(e.recipe.Name+"/*", false)
	if err != nil {
		return nil
	}
	found, _ := e.trace.Search(ctx, pattern)
	refs := slices.DeleteFunc(slices.Clone(found.Value), func(ref conan.Ref) bool { return ref == e.recipe.Ref })
	slices.SortFunc(refs, func(a, b conan.Ref) int {
		return conan.ParseVersion(b.Version).Compare(conan.ParseVersion(a.Version))
	})
	var nodes []conan.Revision
	for _, ref := range refs[:min(mostSiblings, len(refs))] {
		nodes = append(nodes, conan.Revision{Ref: ref})
	}
	var recipes []conan.Revision
	for i, newest := range newestOf(ctx, e.trace, nodes) {
		if newest.Value.ID != "" {
			recipes = append(recipes, nodes[i].With(newest.Value.ID))
		}
	}
	return recipes
}
