package conan

import (
	"errors"
	"strings"
	"testing"
)

func mustGlob(t testing.TB, s string) Glob {
	t.Helper()
	g, err := ParseGlob(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGlobMatchFor(t *testing.T) {
	tests := []struct {
		glob, ref, user string
		want            bool
	}{
		{"*", "zlib/1.3", "", true},
		{"*", "zlib/1.3@acme/stable", "", true},
		{"zlib/*", "zlib/1.3", "", true},
		{"zlib/*", "zlib/1.3@acme/stable", "", true},
		{"zlib/*", "Zlib/1.3", "", false},
		{"zlib/*", "zlib-ng/1.3", "", false},
		{"zlib*", "zlib-ng/1.3", "", true},
		{"zlib/1.3", "zlib/1.3", "", true},
		{"zlib/1.3", "zlib/1.3@acme/stable", "", false},
		{"zlib/1.*", "zlib/1", "", false},
		{"*@acme/*", "zlib/1.3@acme/stable", "", true},
		{"*@acme/*", "zlib/1.3@acme2/stable", "", false},
		{"*@acme/*", "zlib/1.3@acme", "", true},
		{"zlib/1.3@acme/*", "zlib/1.3@acme", "", true},
		{"*/*@*/*", "zlib/1.3@acme", "", true},
		{"*/*@*/*", "zlib/1.3", "", false},
		{"*@acme/*", "zlib/1.3@acme2", "", false},
		{"*@acme/*", "acme/1.3", "", false},
		{"*@acme/s*", "zlib/1.3@acme", "", false},
		{"*@acme/*e", "zlib/1.3@acme", "", false},
		{"*/", "zlib/1.3@acme", "", false},
		{"*1.3/*", "zlib/1.3", "", false},
		{"*@{user}/*", "zlib/1.3@anna", "anna", true},
		{"*@{user}/*", "zlib/1.3@anna", "ann", false},
		{"*@{user}/*", "zlib/1.3@anna", "", false},
		{"*@acme*", "zlib/1.3@acme", "", true},
		{"*/*@*/stable", "zlib/1.3@acme/stable", "", true},
		{"*aa*aa", "caaa/1", "", false},
		{"*1*1", "zlib/1.1", "", true},
		{"zlib/1*1", "zlib/1", "", false},
		{"*@{user}/*", "zlib/1.3@anna/dev", "anna", true},
		{"*@{user}/*", "zlib/1.3@anna/dev", "ann", false},
		{"*@{user}/*", "zlib/1.3@anna/dev", "", false},
		{"*@{user}/*", "zlib/1.3@anna/dev", "*", false},
		{"*@{user}/*", "zlib/1.3@anna/dev", "an*", false},
		{"*@{user}/*", "zlib/1.3@anna/dev", "{user}", false},
		{"*@{user}", "zlib/1.3@anna", "anna", true},
		{"{user}/*@{user}/{user}", "anna/1@anna/anna", "anna", true},
		{"{user}/1@{user}", "anna/1@anna", "anna", true},
		{"*", "zlib/1.3", "anna", true},
	}
	for _, tt := range tests {
		g := mustGlob(t, tt.glob)
		r := mustRef(t, tt.ref)
		if got := g.MatchFor(r, tt.user); got != tt.want {
			t.Errorf("%s for %q matches %s: got %v, want %v", g, tt.user, r, got, tt.want)
		}
		if got := g.Match(r); tt.user == "" && got != tt.want {
			t.Errorf("%s matches %s: got %v, want %v", g, r, got, tt.want)
		}
	}
	if (Glob{}).Match(mustRef(t, "zlib/1.3")) || (Glob{}).MatchSearch("zlib") {
		t.Error("the zero Glob matches")
	}
}

func TestParseGlobRefuses(t *testing.T) {
	for _, s := range []string{
		"", "zlib", "zlib/1.?", "zlib/[1]", "zlib/1.3@", "zlib/1.3@_/_", "*@_/_", "zlib/*@_", "zlib/1.0 ", "zlib/1.0#*",
		"{name}/*", "zlib/{user", "ä/*", "*\x00", "a/b/c",
	} {
		if g, err := ParseGlob(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseGlob(%q): got %v, %v; want ErrInvalid", s, g, err)
		}
	}
}

func TestGlobMatchSearch(t *testing.T) {
	tests := []struct {
		glob, search string
		covered      bool
	}{
		// What only covered references can match is not sent.
		{"acme-*", "acme-core", true},
		{"acme-*", "acme-core/*", true},
		{"acme-*", "acme-core/1.0", true},
		{"acme-*", "acme-core/1.?", true},
		{"acme-*", "acme-core/[0-9]*@me/dev", true},
		{"acme-*", "acme-c*", true},
		{"acme-*", "acme-*", true},
		{"acme-*", "ACME-Core/*", true},
		{"acme-*", "[aA]cme-core/*", true},
		{"ACME-*", "acme-core/*", true},
		{"acme-*/*", "acme-core", true},
		{"acme-*/*", "acme-core*", true},
		{"internal/*", "internal", true},
		{"internal/*", "internal/", true},
		{"internal/*", "internal/*", true},
		{"internal/*", "internal/1.0", true},
		{"internal/*", "internal/1.0@acme/stable#0", true},
		{"internal/*", "internal#*", true},
		{"*@acme/*", "*@acme/*", true},
		{"*@acme/*", "zlib/*@acme/*", true},
		{"*@acme/*", "zlib/1.3@acme/stable", true},
		{"*@acme/*", "zlib/1.3@acme/", true},
		{"*@acme/*", "zlib/1.3@acme", true},
		{"*@acme/*", "zlib/*@acme", true},
		{"*@acme/*", "*@acme", true},
		{"*@acme", "zlib/*@acme", true},
		{"*@*", "zlib/*@*", true},
		{"*@*", "zlib/1.3@", true},
		{"zlib/*@acme/stable", "zlib/1.3@acme/stable", true},
		{"zlib/*@acme/stable", "zlib/*@acme/stable", true},
		{"internal/1.0", "internal/1.0", true},
		{"*", "", true},
		{"*", "*", true},
		{"*", "zlib/*", true},
		{"acme-*", "acme\xff", true},

		// What others can match too is sent.
		{"*@acme/*", "", false},
		{"*@acme/*", "*", false},
		{"*@acme/*", "zlib", false},
		{"*@acme/*", "zlib/*", false},
		{"*@acme/*", "zlib/1.3", false},
		{"*@acme/*", "zlib/1.3@", false},
		{"*@acme/*", "zlib/1.3@acme2/*", false},
		{"*@acme/*", "acme", false},
		{"*@acme/*", "acme/*", false},
		{"*@*", "zlib/*", false},
		{"*@*", "*", false},
		{"*@*", "zlib", false},
		{"acme-*", "", false},
		{"acme-*", "*", false},
		{"acme-*", "acme*", false},
		{"acme-*", "*-core/*", false},
		{"acme-*", "?cme-core", false},
		{"acme-*", "acme", false},
		{"internal/*", "internal*", false},
		{"internal/*", "internal-x", false},
		{"internal/*", "intern", false},
		{"internal/1.*", "internal/*", false},
		{"internal/1.*", "internal", false},
		{"zlib/*@acme/stable", "zlib/*", false},
		{"zlib/*@acme/stable", "zlib/*@acme/*", false},
		{"zlib/*@acme/stable", "zlib/*@acme/testing", false},
		{"*@{user}/*", "*", false},
	}
	for _, tt := range tests {
		if got := mustGlob(t, tt.glob).MatchSearch(tt.search); got != tt.covered {
			t.Errorf("%s covers the search %q: got %v, want %v", tt.glob, tt.search, got, tt.covered)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("*@acme/*", "zlib/1.3@acme/stable", "anna", "zlib/*")
	f.Add("*@{user}/*", "zlib/1.3@anna/dev", "anna", "*")
	f.Add("a*a*b", "aab/1", "", "a[b-]*")
	f.Fuzz(func(t *testing.T, glob, ref, user, search string) {
		g, err := ParseGlob(glob)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		covered := g.MatchSearch(search)
		r, err := ParseRef(ref)
		if err != nil {
			return
		}
		// The search for exactly what the pattern covers is covered.
		if strings.ToLower(ref) == ref && g.Match(r) && !g.MatchSearch(r.String()) {
			t.Fatalf("%s covers %s but not the search for it", g, r)
		}
		if g.Match(r) && !g.MatchFor(r, user) {
			t.Fatalf("%s matches %s without a user but not for %q", g, r, user)
		}
		_ = covered
	})
}
