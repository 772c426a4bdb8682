package selection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// world is a source with two recipe revisions of zlib/1.3, and its sets by short names.
type world struct {
	conan.Source
	names map[string]string // "old", "new", "new:linux", … to a revision
}

func newWorld() world {
	at := func(hour int) conantest.Option {
		return conantest.Published(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC))
	}
	older := conantest.Recipe("zlib", "1.3", at(1))
	newer := conantest.Recipe("zlib", "1.3", at(2), conantest.Code("# fixed"))
	linux := conantest.Package(newer, at(3), conantest.Setting("os", "Linux"))
	again := conantest.Package(newer, at(4), conantest.Setting("os", "Linux"), conantest.File("lib/a", "again"))
	windows := conantest.Package(newer, at(5), conantest.Setting("os", "Windows"))
	early := conantest.Package(older, at(6), conantest.Setting("os", "Linux"))
	other := conantest.Recipe("boost", "1.83", at(7))
	names := make(map[string]string)
	all := map[string]conantest.Set{
		"old": older, "new": newer, "new:linux": linux, "new:again": again, "new:windows": windows, "old:linux": early, "boost": other,
	}
	for name, set := range all {
		names[name] = set.Revision.String()
	}
	source := conantest.NewSource("s", conan.StateLocal, older, newer, linux, again, windows, early, other)
	return world{source, names}
}

// short are the short names of what a result has.
func (w world) short(result Result) []string {
	var out []string
	for _, found := range result.Revisions {
		name := found.Revision.String()
		for short, long := range w.names {
			if long == name {
				name = short
			}
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (w world) list(text string) json.RawMessage {
	for _, short := range []string{"new:linux", "new"} {
		rev := w.names[short]
		_, rrev, _ := strings.Cut(rev, "#")
		rrev, pkg, _ := strings.Cut(rrev, ":")
		id, prev, _ := strings.Cut(pkg, "#")
		text = strings.NewReplacer("RREV", rrev, "PID", id, "PREV", prev).Replace(text)
	}
	return json.RawMessage(text)
}

func TestResolve(t *testing.T) {
	w := newWorld()
	everything := []string{"new", "new:again", "new:linux", "new:windows", "old", "old:linux"}
	for name, tc := range map[string]struct {
		spec    Spec
		purpose Purpose
		want    []string
	}{
		"list":                     {Spec{Patterns: []string{"zlib/*"}}, AsList, []string{"zlib/1.3"}},
		"upload":                   {Spec{Patterns: []string{"zlib/*"}}, AsUpload, []string{"new", "new:again", "new:windows"}},
		"remove":                   {Spec{Patterns: []string{"zlib/*"}}, AsRemove, everything},
		"remove packages":          {Spec{Patterns: []string{"zlib/1.3:*"}}, AsRemove, []string{"new:again", "new:linux", "new:windows", "old:linux"}},
		"remove the newest":        {Spec{Patterns: []string{"zlib/1.3"}, Latest: 1}, AsRemove, []string{"new", "new:again", "new:linux", "new:windows"}},
		"remove but the recipes":   {Spec{Patterns: []string{"zlib/1.3"}, PackagesOnly: true}, AsRemove, []string{"new:again", "new:linux", "new:windows", "old:linux"}},
		"hide":                     {Spec{Patterns: []string{"zlib/*"}}, AsHide, []string{"new"}},
		"hide a package":           {Spec{Patterns: []string{"zlib/1.3:*"}, Query: "os=Windows"}, AsHide, []string{"new:windows"}},
		"upload two":               {Spec{Patterns: []string{"zlib/1.3"}, Latest: 2}, AsUpload, everything},
		"list two":                 {Spec{Patterns: []string{"zlib/1.3"}, Latest: 2}, AsList, []string{"new", "old"}},
		"recipes only":             {Spec{Patterns: []string{"*"}, RecipesOnly: true}, AsUpload, []string{"boost", "new"}},
		"packages only":            {Spec{Patterns: []string{"zlib/1.3"}, PackagesOnly: true}, AsUpload, []string{"new:again", "new:windows"}},
		"query":                    {Spec{Patterns: []string{"zlib/1.3"}, Query: "os=Windows"}, AsUpload, []string{"new", "new:windows"}},
		"package list":             {Spec{List: w.list(`{"r": {"zlib/1.3": {"revisions": {"RREV": {"packages": {"PID": {"revisions": {"PREV": {}}}}}}}}}`)}, AsUpload, []string{"new", "new:linux"}},
		"package list, remove":     {Spec{List: w.list(`{"r": {"zlib/1.3": {"revisions": {"RREV": {"packages": {"PID": {"revisions": {"PREV": {}}}}}}}}}`)}, AsRemove, []string{"new:linux"}},
		"recipe list":              {Spec{List: w.list(`{"r": {"zlib/1.3": {"revisions": {"RREV": {}}}}}`)}, AsUpload, []string{"new"}},
		"recipe list, remove":      {Spec{List: w.list(`{"r": {"zlib/1.3": {"revisions": {"RREV": {}}}}}`)}, AsRemove, []string{"new", "new:again", "new:linux", "new:windows"}},
		"list of none, remove":     {Spec{List: w.list(`{"r": {"zlib/1.3": {"revisions": {"RREV": {"packages": {}}}}}}`)}, AsRemove, nil},
		"graph":                    {Spec{Graph: w.list(`{"graph": {"nodes": {"1": {"ref": "zlib/1.3#RREV", "recipe": "Cache", "package_id": "PID", "prev": "PREV", "binary": "Cache"}}}}`)}, AsUpload, []string{"new", "new:linux"}},
		"graph, remove":            {Spec{Graph: w.list(`{"graph": {"nodes": {"1": {"ref": "zlib/1.3#RREV", "recipe": "Cache", "package_id": "PID", "prev": null, "binary": "Skip"}}}}`)}, AsRemove, nil},
		"lockfile":                 {Spec{Lockfile: w.list(`{"version": "0.5", "requires": ["zlib/1.3#RREV%1.0"]}`)}, AsUpload, []string{"new", "new:again", "new:windows"}},
		"lockfile, query":          {Spec{Lockfile: w.list(`{"version": "0.5", "requires": ["zlib/1.3"]}`), Query: "os=Windows"}, AsUpload, []string{"new", "new:windows"}},
		"lockfile, recipes":        {Spec{Lockfile: w.list(`{"version": "0.5", "requires": ["zlib/1.3"]}`), RecipesOnly: true}, AsUpload, []string{"new"}},
		"lockfile, two":            {Spec{Lockfile: w.list(`{"version": "0.5", "requires": ["zlib/1.3"]}`), Latest: 2}, AsUpload, []string{"new", "new:again", "new:linux", "new:windows"}},
		"lockfile with packages":   {Spec{Lockfile: w.list(`{"version": "0.5", "requires": [["zlib/1.3#RREV", {"PID": "PREV"}]]}`)}, AsUpload, []string{"new", "new:linux"}},
		"lockfile of Conan 1":      {Spec{Lockfile: w.list(`{"version": "0.4", "graph_lock": {"nodes": {"1": {"ref": "zlib/1.3#0", "package_id": "PID", "prev": "0"}}}}`)}, AsUpload, []string{"new", "new:again"}},
		"a pattern and a lockfile": {Spec{Patterns: []string{"boost/*"}, Lockfile: w.list(`{"version": "0.5", "requires": ["zlib/1.3"]}`), RecipesOnly: true}, AsUpload, []string{"boost", "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tc.spec.Parse()
			if err != nil {
				t.Fatal(err)
			}
			result, err := Resolve(t.Context(), w, s, tc.purpose)
			if err != nil || result.Missing != nil {
				t.Fatalf("%v, missing %v", err, result.Missing)
			}
			if diff := cmp.Diff(tc.want, w.short(result)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResolveSaysWhatIsMissing(t *testing.T) {
	w := newWorld()
	s, err := Spec{
		Patterns: []string{"zlib/9", "zlib/1.3#aa", "zlib/1.3:bb", "nothing/*"},
		List:     json.RawMessage(`{"r": {"zlib/1.3": {"revisions": {"cc": {"packages": {"p1": {"revisions": {"q1": {}}}}}}}}}`),
		Lockfile: json.RawMessage(`{"version": "0.5", "requires": ["zlib/8"]}`),
	}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	result, err := Resolve(t.Context(), w, s, AsUpload)
	if err != nil {
		t.Fatal(err)
	}
	rrev := strings.TrimPrefix(w.names["new"], "zlib/1.3#")
	want := []string{
		`list: recipe zlib/1.3#cc was not found`,
		`lockfile: recipe zlib/8 was not found`,
		`pattern "zlib/1.3#aa": recipe revision zlib/1.3#aa was not found`,
		`pattern "zlib/1.3:bb": package zlib/1.3#` + rrev + `:bb was not found`,
		`pattern "zlib/9": recipe zlib/9 was not found`,
	}
	var got []string
	for _, m := range result.Missing {
		got = append(got, m.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// broken is a source that cannot answer.
type broken struct{ conan.Source }

func (broken) Search(context.Context, conan.Pattern) (a conan.Answer[[]conan.Ref], err error) {
	return a, conan.ErrUnavailable
}

func TestResolveFails(t *testing.T) {
	for name, tc := range map[string]struct {
		spec    Spec
		source  conan.Source
		purpose Purpose
		want    error
		says    string
	}{
		"a source that fails":         {Spec{Patterns: []string{"zlib/*"}}, broken{}, AsList, conan.ErrUnavailable, `pattern "zlib/*"`},
		"removal of recipes only":     {Spec{Patterns: []string{"zlib/*"}, RecipesOnly: true}, newWorld(), AsRemove, conan.ErrInvalid, "a recipe goes with its packages"},
		"a query on recipes":          {Spec{Patterns: []string{"zlib/*"}, Query: "os=Linux"}, newWorld(), AsRemove, conan.ErrInvalid, "write zlib/*:*"},
		"packages of references":      {Spec{Patterns: []string{"zlib/*"}, PackagesOnly: true}, newWorld(), AsList, conan.ErrInvalid, "write zlib/*:*"},
		"packages to hide":            {Spec{Patterns: []string{"zlib/*"}, PackagesOnly: true}, newWorld(), AsHide, conan.ErrInvalid, "write zlib/*:*"},
		"a query to hide":             {Spec{Patterns: []string{"zlib/*"}, Query: "os=Linux"}, newWorld(), AsHide, conan.ErrInvalid, "write zlib/*:*"},
		"a name that cannot be":       {Spec{Patterns: []string{"zlib/1.?#aa"}}, newWorld(), AsList, conan.ErrInvalid, "1.?"},
		"a package id that cannot be": {Spec{Patterns: []string{"zlib/1.3:a?"}}, newWorld(), AsUpload, conan.ErrInvalid, "a?"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tc.spec.Parse()
			if err != nil {
				t.Fatal(err)
			}
			_, err = Resolve(t.Context(), tc.source, s, tc.purpose)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// many is a source of more references than a result may have.
type many struct{ conan.Source }

func (many) Search(context.Context, conan.Pattern) (a conan.Answer[[]conan.Ref], err error) {
	for i := range maxRevisions + 1 {
		a.Value = append(a.Value, conan.Ref{Name: "lib", Version: fmt.Sprint(i)})
	}
	return a, nil
}

func TestResultsAreBounded(t *testing.T) {
	s, err := Spec{Patterns: []string{"*"}}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(t.Context(), many{}, s, AsList); !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestResultsAreSortedAndDoNotDependOnOrder(t *testing.T) {
	w := newWorld()
	patterns := []string{"*", "zlib/*", "zlib/1.3#*", "zlib/1.3:*", "zlib/1.3#*:*#*", "boost/[>1]", "zlib/1.3#!latest", "zlib/9", "no/1.0:aa"}
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOfN(rapid.SampledFrom(patterns), 1, 6).Draw(t, "patterns")
		purpose := rapid.SampledFrom([]Purpose{AsList, AsUpload, AsRemove}).Draw(t, "purpose")
		one := resolved(t, w, chosen, purpose)
		other := resolved(t, w, rapid.Permutation(chosen).Draw(t, "order"), purpose)
		if diff := cmp.Diff(one, other); diff != "" {
			t.Fatal(diff)
		}
		for i := 1; i < len(one.Revisions); i++ {
			if one.Revisions[i-1].Revision.String() >= one.Revisions[i].Revision.String() {
				t.Fatalf("%s stands before %s", one.Revisions[i-1], one.Revisions[i])
			}
		}
	})
}

func resolved(t *rapid.T, w world, patterns []string, purpose Purpose) Result {
	s, err := Spec{Patterns: patterns}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	result, err := Resolve(context.Background(), w, s, purpose)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// hiding is a source that marks a recipe revision as hidden and says why its files are not given.
type hiding struct {
	conan.Source
	id string
}

func (h hiding) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, err := h.Source.Revisions(ctx, rev)
	list.Value = slices.Clone(list.Value)
	for i := range list.Value {
		list.Value[i].Hidden = list.Value[i].ID == h.id
	}
	return list, err
}

func (h hiding) Snapshot(context.Context, conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return conan.Answer[conan.Snapshot]{}, &conan.HiddenError{Member: "m", Reason: "bad"}
}

// Hidden revisions are not selected, and one that is named is an error with its reason.
func TestHiddenRevisionsAreNotSelected(t *testing.T) {
	first, second := conantest.Recipe("zlib", "1.3"), conantest.Recipe("zlib", "1.3", conantest.File("data.yml", "2"))
	source := hiding{conantest.NewSource("m", conan.StateLocal, first, second), second.RRev}
	resolve := func(spec Spec) (revs []string, err error) {
		t.Helper()
		spec.RecipesOnly = true
		sel, err := spec.Parse()
		if err != nil {
			t.Fatal(err)
		}
		result, err := Resolve(t.Context(), source, sel, AsUpload)
		for _, found := range result.Revisions {
			revs = append(revs, found.RRev)
		}
		return revs, err
	}
	for _, spec := range []Spec{{Patterns: []string{"zlib/*#*"}}, {Patterns: []string{"zlib/*"}, Latest: 2}} {
		if got, err := resolve(spec); err != nil || !slices.Equal(got, []string{first.RRev}) {
			t.Errorf("%+v: %v, %v; want the visible one", spec, got, err)
		}
	}
	list := `{"m": {"zlib/1.3": {"revisions": {"` + second.RRev + `": {}}}}}`
	for _, spec := range []Spec{{Patterns: []string{"zlib/1.3#" + second.RRev}}, {List: json.RawMessage(list)}} {
		var hidden *conan.HiddenError
		if got, err := resolve(spec); !errors.As(err, &hidden) {
			t.Errorf("%+v: %v, %v; want the reason", spec, got, err)
		}
	}
}
