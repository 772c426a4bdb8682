package policy

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// everything is a Source that has whatever it is asked about, and counts the questions.
type everything struct{ asked int }

func has[T any](e *everything, value T) (conan.Answer[T], error) {
	e.asked++
	return conan.Answer[T]{Value: value, Origin: conan.Origin{Member: "up", Expires: conan.Forever}}, nil
}

func (e *everything) Latest(context.Context, conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	return has(e, conan.RevisionTime{ID: "r"})
}

func (e *everything) Revisions(context.Context, conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	return has(e, []conan.RevisionTime{{ID: "r"}})
}

func (e *everything) Snapshot(context.Context, conan.Revision) (conan.Answer[conan.Snapshot], error) {
	return has(e, conan.Snapshot{{Name: conan.RecipeFile}})
}

func (e *everything) Open(context.Context, conan.Revision, string) (conan.Answer[*conan.File], error) {
	return has(e, &conan.File{})
}

func (e *everything) Packages(context.Context, conan.Revision, bool) (conan.Answer[[]conan.Package], error) {
	return has(e, []conan.Package{{ID: "p"}})
}

func (e *everything) Search(context.Context, conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return has(e, []conan.Ref{{Name: "acme-core", Version: "1.0"}, {Name: "zlib", Version: "1.3"}})
}

// askEverything asks every question about one reference and returns the errors.
func askEverything(ctx context.Context, s conan.Source, ref conan.Ref) []error {
	rev := conan.Revision{Ref: ref, RRev: "r"}
	_, latest := s.Latest(ctx, rev)
	_, revisions := s.Revisions(ctx, rev)
	_, snapshot := s.Snapshot(ctx, rev)
	_, open := s.Open(ctx, rev, conan.RecipeFile)
	_, packages := s.Packages(ctx, rev, true)
	return []error{latest, revisions, snapshot, open, packages}
}

func TestFilterAsksWhatItsRulesAdmit(t *testing.T) {
	for name, tc := range map[string]struct {
		include, exclude []string
		admits           bool
	}{
		"no rules":              {nil, nil, true},
		"excluded":              {nil, []string{"zlib/*"}, false},
		"another is excluded":   {nil, []string{"boost/*"}, true},
		"included":              {[]string{"zlib/*"}, nil, true},
		"not included":          {[]string{"boost/*"}, nil, false},
		"included and excluded": {[]string{"*"}, []string{"zlib/1.3"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := ParseRules("up", tc.include, tc.exclude)
			if err != nil {
				t.Fatal(err)
			}
			source := &everything{}
			f := NewFilter(source, rules)
			ref := conan.Ref{Name: "zlib", Version: "1.3"}
			if got := f.rules.Admits(ref); got != tc.admits {
				t.Errorf("admits: %v", got)
			}
			errs := askEverything(t.Context(), f, ref)
			for i, err := range errs {
				if tc.admits && err != nil || !tc.admits && !errors.Is(err, conan.ErrNotFetched) {
					t.Errorf("question %d: %v", i, err)
				}
			}
			want := 0
			if tc.admits {
				want = len(errs)
			}
			if source.asked != want {
				t.Errorf("the source was asked %d times, want %d", source.asked, want)
			}
		})
	}
}

func TestFilterOfSearches(t *testing.T) {
	for name, tc := range map[string]struct {
		exclude []string
		text    string
		want    []conan.Ref
		asked   int
	}{
		"what is found beside what was asked for": {nil, "zlib/*", []conan.Ref{{Name: "zlib", Version: "1.3"}}, 1},
		"excluded names are dropped":              {[]string{"acme-*"}, "*", []conan.Ref{{Name: "zlib", Version: "1.3"}}, 1},
		"only excluded names":                     {[]string{"acme-*"}, "acme-core/*", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := ParseRules("up", nil, tc.exclude)
			if err != nil {
				t.Fatal(err)
			}
			p, err := conan.ParsePattern(tc.text, true)
			if err != nil {
				t.Fatal(err)
			}
			source := &everything{}
			found, err := NewFilter(source, rules).Search(t.Context(), p)
			if (tc.asked == 0) != errors.Is(err, conan.ErrNotFetched) {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, found.Value); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if source.asked != tc.asked {
				t.Errorf("the source was asked %d times, want %d", source.asked, tc.asked)
			}
		})
	}
}

func TestBadPatternsNameTheirUpstream(t *testing.T) {
	for _, tc := range [][2][]string{{{"a b"}, nil}, {nil, {"a b"}}} {
		if _, err := ParseRules("far", tc[0], tc[1]); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("%v: %v", tc, err)
		}
	}
}

// A Filter keeps the contract of a Source about what its rules admit.
func TestSource(t *testing.T) {
	conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
		rules, err := ParseRules("up", nil, []string{"secret/*"})
		if err != nil {
			t.Fatal(err)
		}
		secret := conantest.Recipe("secret", "1.0")
		return NewFilter(conantest.NewSource("up", conan.StateHit, append(sets, secret)...), rules)
	})
}
