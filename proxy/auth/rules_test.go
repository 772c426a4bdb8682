package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

func ruleGuard(t *testing.T, read, write []Rule) *Guard {
	t.Helper()
	g, err := New(Options{Directory: newDirectory(t, identity.Options{Secret: testSecret}), Read: read, Write: write})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// verdict is the status that a decision leads to.
func verdict(err error) int {
	switch {
	case err == nil:
		return 200
	case errors.Is(err, identity.ErrLogin):
		return 401
	case errors.Is(err, conan.ErrDenied):
		return 403
	}
	return 500
}

func TestRules(t *testing.T) {
	tests := []struct {
		name  string
		rules []Rule
		ref   string
		want  map[string]int // by caller; "" is anonymous
	}{
		{"no rules", nil, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"anyone", []Rule{{"*", []string{"*"}}}, "zlib/1.3", map[string]int{"": 200, "ann": 200}},
		{"any user", []Rule{{"*", []string{"?"}}}, "zlib/1.3", map[string]int{"": 401, "ann": 200}},
		{"a name", []Rule{{"*", []string{"ann", "bob"}}}, "zlib/1.3", map[string]int{"": 401, "ann": 200, "bob": 200, "eve": 403, "Ann": 403}},
		{"nobody", []Rule{{"*", nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"a word among names", []Rule{{"*", []string{"ann", "?"}}}, "zlib/1.3", map[string]int{"": 401, "eve": 200}},
		{"the first that matches decides", []Rule{{"zlib/*", []string{"ann"}}, {"*", []string{"*"}}}, "zlib/1.3", map[string]int{"": 401, "ann": 200, "bob": 403}},
		{"a later one for others", []Rule{{"zlib/*", []string{"ann"}}, {"*", []string{"*"}}}, "zlib-ng/2", map[string]int{"": 200, "bob": 200}},
		{"none matches", []Rule{{"boost/*", []string{"*"}}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"case counts", []Rule{{"Zlib/*", []string{"*"}}}, "zlib/1.3", map[string]int{"": 401}},
		{"a star spans everything", []Rule{{"*/dev", []string{"*"}}}, "zlib/1.3@acme/dev", map[string]int{"": 200}},
		{"a user's references", []Rule{{"*@acme/*", []string{"ann"}}}, "zlib/1.3@acme/dev", map[string]int{"": 401, "ann": 200, "eve": 403}},
		{"a user's references without a channel", []Rule{{"*@acme/*", []string{"ann"}}}, "zlib/1.3@acme", map[string]int{"": 401, "ann": 200, "eve": 403}},
		{"references without a user", []Rule{{"*@acme/*", []string{"*"}}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"one's own", []Rule{{"*@{user}/*", []string{"?"}}}, "zlib/1.3@ann/dev", map[string]int{"": 401, "ann": 200, "eve": 403}},
		{"one's own never matches the anonymous", []Rule{{"*@{user}/*", []string{"*"}}, {"*", []string{"*"}}}, "zlib/1.3@ann/dev", map[string]int{"": 200, "ann": 200}},
		{"one's own without a user in the reference", []Rule{{"*@{user}/*", []string{"*"}}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"a name with a star is no wildcard", []Rule{{"*@{user}/*", []string{"?"}}}, "zlib/1.3@ann/dev", map[string]int{"a*": 403, "**": 403}},
		{"a name longer than the user", []Rule{{"*@{user}/*", []string{"?"}}}, "zlib/1.3@ann/dev", map[string]int{"an": 403, "ann/dev": 403, "ann/": 403}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reads, writes := ruleGuard(t, tt.rules, nil), ruleGuard(t, nil, tt.rules)
			got := map[string]int{}
			for user := range tt.want {
				got[user] = verdict(reads.MayRead(Caller{Name: user}, mustRef(t, tt.ref)))
				if w := verdict(writes.MayWrite(Caller{Name: user}, mustRef(t, tt.ref))); w != got[user] {
					t.Errorf("%q: read rules say %d, write rules %d", user, got[user], w)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			if open := reads.AnonymousMayRead(mustRef(t, tt.ref)); open != (verdict(reads.MayRead(Caller{}, mustRef(t, tt.ref))) == 200) {
				t.Errorf("AnonymousMayRead is %v", open)
			}
		})
	}
}

func TestReadAndWriteAreApart(t *testing.T) {
	g := ruleGuard(t, []Rule{{"*", []string{"*"}}}, []Rule{{"*", []string{"?"}}})
	for _, ref := range []string{"zlib/1.3", "zlib/1.3@ann/dev"} {
		if got := verdict(g.MayRead(Caller{}, mustRef(t, ref))); got != 200 {
			t.Errorf("anonymous read of %s: %d", ref, got)
		}
		if got := verdict(g.MayWrite(Caller{}, mustRef(t, ref))); got != 401 {
			t.Errorf("anonymous write of %s: %d", ref, got)
		}
	}
}

func TestBadRules(t *testing.T) {
	d := newDirectory(t, identity.Options{Secret: testSecret})
	bad := []struct {
		name        string
		read, write []Rule
		wantText    string
	}{
		{"bad read pattern", []Rule{{"a b", nil}}, nil, "read rule 1"},
		{"bad write pattern", nil, []Rule{{"*", nil}, {"[ab]/*", nil}}, "write rule 2"},
		{"empty user", []Rule{{"*", []string{""}}}, nil, "read rule 1"},
		{"user that no file can have", []Rule{{"*", []string{"a:b"}}}, nil, "read rule 1"},
	}
	for _, tt := range bad {
		_, err := New(Options{Directory: d, Read: tt.read, Write: tt.write})
		if !errors.Is(err, conan.ErrInvalid) || !strings.Contains(err.Error(), tt.wantText) {
			t.Errorf("%s: error %v, want one that names %s", tt.name, err, tt.wantText)
		}
	}
}

func TestAnyWriter(t *testing.T) {
	tests := []struct {
		name  string
		write []Rule
		want  map[string]int
	}{
		{"no rules", nil, map[string]int{"": 401, "ann": 200}},
		{"users", []Rule{{"*", []string{"?"}}}, map[string]int{"": 401, "ann": 200}},
		{"anyone, somewhere", []Rule{{"x/*", []string{"ann"}}, {"*", []string{"*"}}}, map[string]int{"": 200, "ann": 200}},
		{"one's own is no anonymous writing", []Rule{{"*@{user}/*", []string{"*"}}}, map[string]int{"": 401, "ann": 200}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := ruleGuard(t, nil, tt.write)
			for user, want := range tt.want {
				if got := verdict(g.AnyWriter(Caller{Name: user})); got != want {
					t.Errorf("%q: %d, want %d", user, got, want)
				}
			}
		})
	}
}

func TestFilterReadable(t *testing.T) {
	g := ruleGuard(t, []Rule{{"secret/*", []string{"ann"}}, {"*", []string{"*"}}}, nil)
	tests := []struct {
		name       string
		caller     string
		refs, want []string
	}{
		{"some", "", []string{"secret/1.0", "zlib/1.3", "abc/1.0"}, []string{"zlib/1.3", "abc/1.0"}},
		{"all removed", "", []string{"secret/1.0"}, []string{}},
		{"none to begin with", "", nil, []string{}},
		{"all readable", "ann", []string{"secret/1.0"}, []string{"secret/1.0"}},
		{"a user without rights", "eve", []string{"secret/1.0"}, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var refs []conan.Ref
			for _, text := range tt.refs {
				refs = append(refs, mustRef(t, text))
			}
			got := g.FilterReadable(Caller{Name: tt.caller}, refs)
			if diff := cmp.Diff(tt.want, refTexts(got)); diff != "" {
				t.Errorf("readable (-want +got):\n%s", diff)
			}
		})
	}
}

// What is stored never decides whether an anonymous search is answered: the rules alone do.
func TestMaySearch(t *testing.T) {
	closed := []Rule{{"*@acme/*", []string{"?"}}, {"secret/*", []string{"ann"}}, {"*", []string{"*"}}}
	tests := []struct {
		name   string
		read   []Rule
		caller string
		text   string
		want   int
	}{
		{"everything", closed, "", "*", 200},
		{"what anyone may read", closed, "", "zlib/*", 200},
		{"names of the company", closed, "", "x*@acme/*", 401},
		{"one name of the company", closed, "", "x/1.0@acme/stable", 401},
		{"a closed name", closed, "", "secret/*", 401},
		{"a closed name and more", closed, "", "secre*", 200},
		{"of a user", closed, "eve", "secret/*", 200},
		{"no rules", nil, "", "*", 401},
		{"logged-in users only", []Rule{{"*", []string{"?"}}}, "", "zlib/*", 401},
		{"one open name", []Rule{{"open/*", []string{"*"}}}, "", "open/1*", 200},
		{"beside the open name", []Rule{{"open/*", []string{"*"}}}, "", "zlib/*", 401},
		{"own names", []Rule{{"*@{user}/*", []string{"*"}}}, "", "*", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := conan.ParsePattern(tt.text, true)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(ruleGuard(t, tt.read, nil).MaySearch(Caller{Name: tt.caller}, p)); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}
