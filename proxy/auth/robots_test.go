package auth

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

// robotTable are robot tokens by name.
type robotTable map[string]*identity.Robot

func (rt robotTable) RobotOf(secret [sha256.Size]byte) (*identity.Robot, error) {
	for _, r := range rt {
		if r.SHA256 == secret {
			return r, nil
		}
	}
	return nil, conan.ErrNotFound
}

func (rt robotTable) RobotNamed(name string) (*identity.Robot, error) {
	if r := rt[name]; r != nil {
		return r, nil
	}
	return nil, conan.ErrNotFound
}

func (rt robotTable) RobotUsed(string, time.Time) {}

// robotGuard has the users ann, who is the administrator, and bob.
type robotGuard struct {
	*Guard
	t     *testing.T
	table robotTable
}

func newRobotGuard(t *testing.T, read, write []Rule) *robotGuard {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	writeUsers(t, file, map[string]string{"ann": "ann's", "bob": "bob's"})
	table := make(robotTable)
	g, err := New(Options{
		Directory: newDirectory(t, identity.Options{HtpasswdFile: file, Secret: testSecret, Robots: table}),
		Read:      read, Write: write, Groups: map[string][]string{"team": {"ann"}}, Admin: []string{"ann", "bot"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &robotGuard{g, t, table}
}

// robot logs a new token in.
func (g *robotGuard) robot(owner string, rights Rights) Caller {
	g.t.Helper()
	r, secret, err := g.NewRobot("bot", owner, rights, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	g.table["bot"] = r
	return login(g.t, g.Guard, "bot", secret)
}

// A robot may do what its own rights and its owner's rules allow, in each member apart.
func TestRightsOfRobots(t *testing.T) {
	everyone := []Rule{{"*", []string{"?"}, nil}}
	byMember := []Rule{{"*@{user}/*", []string{"?"}, nil}, {"*", []string{"@team"}, []string{"dev"}}, {"*", []string{"?"}, []string{"release"}}}
	all := Rights{Read: true, Write: true}
	for name, tt := range map[string]struct {
		rules       []Rule
		owner       string
		rights      Rights
		ref         string
		read, write string // in dev and in release: "+" may, "-" may not
	}{
		"all of its owner's":        {byMember, "ann", all, "lib/1@acme/dev", "++", "++"},
		"no more than its owner":    {byMember, "bob", all, "lib/1@acme/dev", "-+", "-+"},
		"read only":                 {byMember, "ann", Rights{Read: true}, "lib/1@acme/dev", "++", "--"},
		"write only":                {everyone, "ann", Rights{Write: true}, "lib/1@acme/dev", "--", "++"},
		"in one member":             {everyone, "ann", Rights{Read: true, Write: true, In: []string{"release"}}, "lib/1@acme/dev", "-+", "-+"},
		"in what the owner may not": {byMember, "bob", Rights{Read: true, In: []string{"dev"}}, "lib/1@acme/dev", "--", "--"},
		"its pattern":               {everyone, "ann", Rights{Read: true, Write: true, Pattern: "*@acme/*"}, "lib/1@acme/dev", "++", "++"},
		"beside its pattern":        {everyone, "ann", Rights{Read: true, Write: true, Pattern: "*@else/*"}, "lib/1@acme/dev", "--", "--"},
		"the owner's own":           {byMember, "bob", all, "lib/1@bob/dev", "++", "++"},
		"not its own name":          {byMember[:1], "bob", all, "lib/1@bot/dev", "--", "--"},
		"the owner in its pattern":  {everyone, "bob", Rights{Read: true, Pattern: "*@{user}/*"}, "lib/1@bob/dev", "++", "--"},
		"what anyone may":           {[]Rule{{"*", []string{"*"}, nil}}, "bob", Rights{Read: true, Pattern: "b/*"}, "lib/1@acme/dev", "--", "--"},
		"a rule for its name":       {[]Rule{{"*", []string{"bot"}, nil}}, "bob", all, "lib/1@acme/dev", "--", "--"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRobotGuard(t, tt.rules, tt.rules)
			c, ref := g.robot(tt.owner, tt.rights), mustRef(t, tt.ref)
			p, err := conan.ParsePattern(tt.ref, true)
			if err != nil {
				t.Fatal(err)
			}
			var read, write string
			for _, member := range []string{"dev", "release"} {
				may := g.MayRead(c, member, ref)
				read += sign(may)
				write += sign(g.MayWrite(c, member, ref) == nil)
				if readable, _ := g.ReadableIn(c, []string{member}, ref); (len(readable) == 1) != may {
					t.Errorf("readable in %v", readable)
				}
				outside := !tt.rights.Read || len(tt.rights.In) > 0 && !slices.Contains(tt.rights.In, member)
				if found := g.MayFind(c, member, p); may && !found || outside && found {
					t.Errorf("it may find %s in %s: %v", p, member, found)
				}
			}
			if read != tt.read || write != tt.write {
				t.Errorf("may read %s, write %s; want %s, %s", read, write, tt.read, tt.write)
			}
		})
	}
}

func sign(may bool) string {
	if may {
		return "+"
	}
	return "-"
}

// Answers are shared by class: no two callers with different rights are of one.
func TestReadClassesOfRobots(t *testing.T) {
	g := newRobotGuard(t, []Rule{{"*", []string{"?"}, nil}}, nil)
	classes := make(map[string]Rights)
	own := "*@{user}/*"
	for _, owner := range []string{"ann", "bob"} {
		for _, rights := range []Rights{
			{Read: true}, {Write: true}, {Read: true, In: []string{"dev"}}, {Read: true, In: []string{"dev", "release"}}, {Read: true, In: []string{"dev,release"}},
			{Read: true, Pattern: "a/*"}, {Read: true, Pattern: own},
		} {
			class := g.ReadClass(g.robot(owner, rights))
			if other, ok := classes[class]; ok || class == g.ReadClass(Caller{Name: owner}) {
				t.Errorf("%+v of %s shares a class with %+v or its owner", rights, owner, other)
			}
			classes[class] = rights
		}
	}
	first, second := g.robot("ann", Rights{Read: true}), g.robot("ann", Rights{Read: true})
	if g.ReadClass(first) != g.ReadClass(second) {
		t.Error("robots with the same rights share no class")
	}
}

func TestARobotIsNoAdministrator(t *testing.T) {
	g := newRobotGuard(t, nil, nil)
	if c := g.robot("ann", Rights{Read: true, Write: true}); g.IsAdmin(c) {
		t.Error("the robot of an administrator is one, or one that is named so")
	}
}

// A signed URL that was given to a robot ends with it.
func TestASignatureEndsWithItsRobot(t *testing.T) {
	g := newRobotGuard(t, nil, nil)
	signature, err := g.Sign(Grant{Method: "GET", Path: "a", Caller: g.robot("ann", Rights{Read: true, Pattern: "a/*"})})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := g.VerifySignature(signature, "GET", "a")
	if err != nil || grant.Caller.Robot() == nil || grant.Caller.Robot().Limits.Rights().Pattern != "a/*" {
		t.Errorf("grant %+v, error %v", grant, err)
	}
	g.robot("ann", Rights{Read: true}) // another one under its name
	if _, err := g.VerifySignature(signature, "GET", "a"); !errors.Is(err, conan.ErrDenied) || errors.Is(err, ErrLogin) {
		t.Errorf("the signature of a token that is gone: error %v", err)
	}
}
