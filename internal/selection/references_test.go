package selection

import (
	"encoding/json"
	"errors"
	"testing"

	"conanproxy/internal/conan"
)

func TestReferences(t *testing.T) {
	refs := []string{"zlib/1.3", "zlib/1.2", "bzip2/1.0", "app/1.4@acme/stable"}
	for name, tc := range map[string]struct {
		spec Spec
		want string // letters of refs
	}{
		"one":          {Spec{Patterns: []string{"zlib/1.3"}}, "a"},
		"a range":      {Spec{Patterns: []string{"zlib/[<1.3]"}}, "b"},
		"patterns":     {Spec{Patterns: []string{"zlib/*", "*@acme/*"}}, "abd"},
		"without user": {Spec{Patterns: []string{"*@"}}, "abc"},
		"none":         {Spec{Patterns: []string{"nothing/1.0"}}, ""},
		"a lockfile":   {Spec{Lockfile: json.RawMessage(`{"version": "0.5", "requires": ["bzip2/1.0#bb"]}`)}, "c"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tc.spec.Parse()
			if err != nil {
				t.Fatal(err)
			}
			matches, err := s.References()
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for i, text := range refs {
				ref, err := conan.ParseRef(text)
				if err != nil {
					t.Fatal(err)
				}
				if matches(ref) {
					got += string(rune('a' + i))
				}
			}
			if got != tc.want {
				t.Errorf("matches %q, want %q", got, tc.want)
			}
		})
	}
}

func TestReferencesRefusesParts(t *testing.T) {
	for name, spec := range map[string]Spec{
		"a revision": {Patterns: []string{"zlib/1.3#aa"}},
		"a package":  {Patterns: []string{"zlib/1.3:*"}},
		"a query":    {Patterns: []string{"zlib/1.3"}, Query: "os=Linux"},
		"latest":     {Patterns: []string{"zlib/1.3"}, Latest: 1},
		"recipes":    {Patterns: []string{"zlib/1.3"}, RecipesOnly: true},
	} {
		s, err := spec.Parse()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.References(); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
