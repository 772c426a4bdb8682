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

// mayRead asks about a member of which no rule speaks by name.
func mayRead(g *Guard, c Caller, ref conan.Ref) error {
	_, err := g.ReadableIn(c, []string{"member"}, ref)
	return err
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
		{"anyone", []Rule{{"*", []string{"*"}, nil}}, "zlib/1.3", map[string]int{"": 200, "ann": 200}},
		{"any user", []Rule{{"*", []string{"?"}, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 200}},
		{"a name", []Rule{{"*", []string{"ann", "bob"}, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 200, "bob": 200, "eve": 403, "Ann": 403}},
		{"nobody", []Rule{{"*", nil, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"a word among names", []Rule{{"*", []string{"ann", "?"}, nil}}, "zlib/1.3", map[string]int{"": 401, "eve": 200}},
		{"the first that matches decides", []Rule{{"zlib/*", []string{"ann"}, nil}, {"*", []string{"*"}, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 200, "bob": 403}},
		{"a later one for others", []Rule{{"zlib/*", []string{"ann"}, nil}, {"*", []string{"*"}, nil}}, "zlib-ng/2", map[string]int{"": 200, "bob": 200}},
		{"none matches", []Rule{{"boost/*", []string{"*"}, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"case counts", []Rule{{"Zlib/*", []string{"*"}, nil}}, "zlib/1.3", map[string]int{"": 401}},
		{"a star spans everything", []Rule{{"*/dev", []string{"*"}, nil}}, "zlib/1.3@acme/dev", map[string]int{"": 200}},
		{"a user's references", []Rule{{"*@acme/*", []string{"ann"}, nil}}, "zlib/1.3@acme/dev", map[string]int{"": 401, "ann": 200, "eve": 403}},
		{"a user's references without a channel", []Rule{{"*@acme/*", []string{"ann"}, nil}}, "zlib/1.3@acme", map[string]int{"": 401, "ann": 200, "eve": 403}},
		{"references without a user", []Rule{{"*@acme/*", []string{"*"}, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"one's own", []Rule{{"*@{user}/*", []string{"?"}, nil}}, "zlib/1.3@ann/dev", map[string]int{"": 401, "ann": 200, "eve": 403}},
		{"one's own never matches the anonymous", []Rule{{"*@{user}/*", []string{"*"}, nil}, {"*", []string{"*"}, nil}}, "zlib/1.3@ann/dev", map[string]int{"": 200, "ann": 200}},
		{"one's own without a user in the reference", []Rule{{"*@{user}/*", []string{"*"}, nil}}, "zlib/1.3", map[string]int{"": 401, "ann": 403}},
		{"a name with a star is no wildcard", []Rule{{"*@{user}/*", []string{"?"}, nil}}, "zlib/1.3@ann/dev", map[string]int{"a*": 403, "**": 403}},
		{"a name longer than the user", []Rule{{"*@{user}/*", []string{"?"}, nil}}, "zlib/1.3@ann/dev", map[string]int{"an": 403, "ann/dev": 403, "ann/": 403}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reads, writes := ruleGuard(t, tt.rules, nil), ruleGuard(t, nil, tt.rules)
			got := map[string]int{}
			for user := range tt.want {
				got[user] = verdict(mayRead(reads, Caller{Name: user}, mustRef(t, tt.ref)))
				if w := verdict(writes.MayWrite(Caller{Name: user}, "store", mustRef(t, tt.ref))); w != got[user] {
					t.Errorf("%q: read rules say %d, write rules %d", user, got[user], w)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			if open := reads.AnonymousReads([]string{"a", "b"}, mustRef(t, tt.ref)); open != reads.MayRead(Caller{}, "a", mustRef(t, tt.ref)) {
				t.Errorf("AnonymousReads is %v", open)
			}
		})
	}
}

func TestReadAndWriteAreApart(t *testing.T) {
	g := ruleGuard(t, []Rule{{"*", []string{"*"}, nil}}, []Rule{{"*", []string{"?"}, nil}})
	for _, ref := range []string{"zlib/1.3", "zlib/1.3@ann/dev"} {
		if got := verdict(mayRead(g, Caller{}, mustRef(t, ref))); got != 200 {
			t.Errorf("anonymous read of %s: %d", ref, got)
		}
		if got := verdict(g.MayWrite(Caller{}, "store", mustRef(t, ref))); got != 401 {
			t.Errorf("anonymous write of %s: %d", ref, got)
		}
	}
}

// The first rule that speaks of the member and whose pattern matches decides, in each member apart.
func TestRulesOfMembers(t *testing.T) {
	g, err := New(Options{
		Directory: newDirectory(t, identity.Options{Secret: testSecret}),
		Groups:    map[string][]string{"devs": {"ann", "bob"}, "none": {}},
		Read: []Rule{
			{Pattern: "mine/*@{user}/*", Users: []string{"?"}},
			{Pattern: "secret/*", Users: []string{"@none", "ann"}, In: []string{"dev", "up"}},
			{Pattern: "*", Users: []string{"@devs"}, In: []string{"dev"}},
			{Pattern: "*", Users: []string{"*"}, In: []string{"release", "up"}},
		},
		Write: []Rule{
			{Pattern: "*", Users: []string{"@devs"}, In: []string{"dev"}},
			{Pattern: "*", Users: []string{"bob"}},
		},
		Admin: []string{"root", "@devs"},
	})
	if err != nil {
		t.Fatal(err)
	}
	members := []string{"dev", "release", "up"}
	for _, tt := range []struct {
		caller, ref string
		readable    []string
		status      int            // of reading in all members
		write       map[string]int // by store
	}{
		{"", "zlib/1.3", []string{"release", "up"}, 200, map[string]int{"dev": 401, "release": 401}},
		{"eve", "zlib/1.3", []string{"release", "up"}, 200, map[string]int{"dev": 403, "release": 403}},
		{"ann", "zlib/1.3", members, 200, map[string]int{"dev": 200, "release": 403}},
		{"bob", "zlib/1.3", members, 200, map[string]int{"dev": 200, "release": 200}},
		{"ann", "secret/1.0", members, 200, nil},
		{"bob", "secret/1.0", []string{"release"}, 200, nil},
		{"", "secret/1.0", []string{"release"}, 200, nil},
		{"eve", "mine/1.0@eve/dev", members, 200, nil},
		{"", "mine/1.0@eve/dev", []string{"release", "up"}, 200, nil},
	} {
		ref := mustRef(t, tt.ref)
		readable, err := g.ReadableIn(Caller{Name: tt.caller}, members, ref)
		if diff := cmp.Diff(tt.readable, readable); diff != "" || verdict(err) != tt.status {
			t.Errorf("%q reads %s: %v, members (-want +got):\n%s", tt.caller, ref, err, diff)
		}
		for store, want := range tt.write {
			if got := verdict(g.MayWrite(Caller{Name: tt.caller}, store, ref)); got != want {
				t.Errorf("%q writes %s in %s: %d, want %d", tt.caller, ref, store, got, want)
			}
		}
	}
	for caller, want := range map[string]int{"": 401, "eve": 403, "ann": 200} {
		if _, err := g.ReadableIn(Caller{Name: caller}, members[:1], mustRef(t, "zlib/1.3")); verdict(err) != want {
			t.Errorf("%q in dev alone: %v, want %d", caller, err, want)
		}
	}
	if g.AnonymousReads(members, mustRef(t, "zlib/1.3")) || !g.AnonymousReads(members[1:], mustRef(t, "zlib/1.3")) {
		t.Error("anonymous reading is not asked for every member")
	}
	for caller, want := range map[string]bool{"": false, "eve": false, "root": true, "ann": true} {
		if got := g.IsAdmin(Caller{Name: caller}); got != want {
			t.Errorf("%q is an administrator: %v", caller, got)
		}
	}
}

// A search is answered from rules alone, in each member apart, and shared by callers of one class.
func TestSearchesOfMembers(t *testing.T) {
	g := ruleGuard(t, []Rule{
		{"*", []string{"ann", "bob"}, []string{"dev"}},
		{"open/*", []string{"*"}, nil},
	}, nil)
	p, err := conan.ParsePattern("zlib/*", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		caller string
		dev    bool
		search int // over both members
	}{{"", false, 401}, {"eve", false, 200}, {"ann", true, 200}} {
		c := Caller{Name: tt.caller}
		if got := g.MayFind(c, "dev", p); got != tt.dev || g.MayFind(c, "release", p) {
			t.Errorf("%q may find %q in dev: %v", tt.caller, p, got)
		}
		if got := verdict(g.MaySearch(c, []string{"dev", "release"}, p)); got != tt.search {
			t.Errorf("%q searches: %d, want %d", tt.caller, got, tt.search)
		}
	}
	class := func(user string) string { return g.ReadClass(Caller{Name: user}) }
	if class("ann") != class("bob") || class("eve") != class("") || class("ann") == class("eve") {
		t.Error("the classes of callers are not those of the rules")
	}
	own := ruleGuard(t, []Rule{{"*@{user}/*", []string{"?"}, nil}}, nil)
	if own.ReadClass(Caller{Name: "ann"}) == own.ReadClass(Caller{Name: "bob"}) {
		t.Error("callers share what is each one's own")
	}
}

func TestBadGroupsAndAdministrators(t *testing.T) {
	for name, o := range map[string]Options{
		"a group that is not there":        {Read: []Rule{{"*", []string{"@none"}, nil}}},
		"a group in a group":               {Groups: map[string][]string{"a": {}, "b": {"@a"}}},
		"anyone in a group":                {Groups: map[string][]string{"a": {"*"}}},
		"anyone as an administrator":       {Admin: []string{"*"}},
		"any user as an administrator":     {Admin: []string{"?"}},
		"administrators that are no group": {Admin: []string{"@none"}},
	} {
		o.Directory = newDirectory(t, identity.Options{Secret: testSecret})
		if _, err := New(o); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
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
		{"bad read pattern", []Rule{{"a b", nil, nil}}, nil, "read rule 1"},
		{"bad write pattern", nil, []Rule{{"*", nil, nil}, {"[ab]/*", nil, nil}}, "write rule 2"},
		{"empty user", []Rule{{"*", []string{""}, nil}}, nil, "read rule 1"},
		{"user that no file can have", []Rule{{"*", []string{"a:b"}, nil}}, nil, "read rule 1"},
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
		{"users", []Rule{{"*", []string{"?"}, nil}}, map[string]int{"": 401, "ann": 200}},
		{"anyone, somewhere", []Rule{{"x/*", []string{"ann"}, nil}, {"*", []string{"*"}, nil}}, map[string]int{"": 200, "ann": 200}},
		{"one's own is no anonymous writing", []Rule{{"*@{user}/*", []string{"*"}, nil}}, map[string]int{"": 401, "ann": 200}},
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

// What is stored never decides whether an anonymous search is answered: the rules alone do.
func TestMaySearch(t *testing.T) {
	closed := []Rule{{"*@acme/*", []string{"?"}, nil}, {"secret/*", []string{"ann"}, nil}, {"*", []string{"*"}, nil}}
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
		{"logged-in users only", []Rule{{"*", []string{"?"}, nil}}, "", "zlib/*", 401},
		{"one open name", []Rule{{"open/*", []string{"*"}, nil}}, "", "open/1*", 200},
		{"beside the open name", []Rule{{"open/*", []string{"*"}, nil}}, "", "zlib/*", 401},
		{"own names", []Rule{{"*@{user}/*", []string{"*"}, nil}}, "", "*", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := conan.ParsePattern(tt.text, true)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(ruleGuard(t, tt.read, nil).MaySearch(Caller{Name: tt.caller}, []string{"a"}, p)); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}
