package transfer

import (
	"context"
	"errors"
	"strings"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/selection"
)

// sink notes what it is given.
type sink struct {
	took []string
	dry  bool
}

func (s *sink) Take(_ context.Context, revs []conan.Revision, _ conan.Actor, dry bool) ([]conan.Moved, error) {
	s.dry = dry
	var moved []conan.Moved
	for _, rev := range revs {
		s.took = append(s.took, rev.String())
		moved = append(moved, conan.Moved{Revision: rev})
	}
	return moved, nil
}

func TestCopyTakesAllOrNothing(t *testing.T) {
	recipe := conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(recipe, conantest.File("lib/a", "a"))
	source := conantest.NewSource("dev", conan.StateLocal, recipe, pkg, conantest.Recipe("secret", "1.0"))
	refused := errors.New("secret is refused")
	allowed := func(ref conan.Ref) error {
		if ref.Name == "secret" {
			return refused
		}
		return nil
	}
	for name, tc := range map[string]struct {
		patterns []string
		want     []string // that the sink takes
		err      error
		says     string
	}{
		"a recipe with its packages": {[]string{"zlib/*"}, []string{recipe.Revision.String(), pkg.Revision.String()}, nil, ""},
		"one that is refused":        {[]string{"zlib/*", "secret/*"}, nil, refused, ""},
		"one that is not there":      {[]string{"zlib/*", "zlib/9.9"}, nil, conan.ErrInvalid, "recipe zlib/9.9 was not found"},
		"nothing":                    {[]string{"none*/*"}, nil, conan.ErrInvalid, "matches nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			sel, err := selection.Spec{Patterns: tc.patterns}.Parse()
			if err != nil {
				t.Fatal(err)
			}
			s := &sink{}
			moved, err := Copy(t.Context(), source, sel, s, Options{Allowed: allowed, Dry: true})
			if !errors.Is(err, tc.err) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %v with %q", err, tc.err, tc.says)
			}
			if strings.Join(s.took, " ") != strings.Join(tc.want, " ") || len(moved) != len(tc.want) {
				t.Errorf("the sink took %q, want %q", s.took, tc.want)
			}
			if len(tc.want) > 0 && !s.dry {
				t.Error("the sink was not told that it is a dry run")
			}
		})
	}
}
