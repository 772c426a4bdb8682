// Package auth decides what a caller may do: rules over references, and signatures of file URLs.
package auth

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

// Caller is who asks.
type Caller = identity.Caller

// Rights are what a robot may do at most.
type Rights = identity.Rights

// ParseLimits reads the rights of a robot as they are kept.
func ParseLimits(text string) (*identity.Limits, error) { return identity.ParseLimits(text) }

// ErrLogin is a refusal that a login would lift, or a login that failed: status 401.
var ErrLogin = identity.ErrLogin

// Guard decides who a caller is and what the caller may do. Its rules never change; users and
// tokens are those of the Directory, which Guards of successive settings share. It is safe for
// concurrent use.
type Guard struct {
	*identity.Directory
	signatureLife time.Duration
	read, write   ruleList
	groups        groups
	admins        people
}

// Options are what a Guard needs.
type Options struct {
	Directory *identity.Directory // required
	// SignatureLifetime is how long a signed file URL is valid; 0 is 24 h.
	SignatureLifetime time.Duration
	// Read and Write are tried in order; the first that speaks of the member and whose pattern
	// matches decides, none refuses.
	Read, Write []Rule
	// Groups are the users of each group, by its name.
	Groups map[string][]string
	// Admin are users, or "@" and the name of a group; none: there is no administrator.
	Admin []string
}

// New checks the options and makes a Guard. A rule that cannot be understood is conan.ErrInvalid.
func New(o Options) (*Guard, error) {
	if o.Directory == nil {
		return nil, errors.New("auth: a directory of users is required")
	}
	if o.SignatureLifetime < 0 {
		return nil, fmt.Errorf("%w: the lifetime of signatures is negative", conan.ErrInvalid)
	}
	if o.SignatureLifetime == 0 {
		o.SignatureLifetime = 24 * time.Hour
	}
	g := &Guard{Directory: o.Directory, signatureLife: o.SignatureLifetime}
	var err error
	if g.groups, err = compileGroups(o.Groups); err != nil {
		return nil, err
	}
	if g.read, err = compileRules("read", o.Read, g.groups); err != nil {
		return nil, err
	}
	if g.write, err = compileRules("write", o.Write, g.groups); err != nil {
		return nil, err
	}
	if g.admins, err = compilePeople(o.Admin, g.groups); err != nil {
		return nil, fmt.Errorf("administrators: %w", err)
	}
	if g.admins.anyone || g.admins.loggedIn {
		return nil, fmt.Errorf("%w: administrators are users and groups, neither anyone nor any logged-in user", conan.ErrInvalid)
	}
	return g, nil
}

// MayRead tells whether the caller may read ref in a member.
func (g *Guard) MayRead(c Caller, member string, ref conan.Ref) bool {
	if robot := c.Robot(); robot != nil && !robot.Limits.Reads(robot.Owner, member, ref) {
		return false
	}
	return g.read.allow(c.Owner(), member, ref)
}

// ReadRights are what a caller may read, as a resolver asks.
type ReadRights struct {
	Guard  *Guard
	Caller Caller
}

// MayRead tells whether the caller may read ref in a member.
func (r ReadRights) MayRead(member string, ref conan.Ref) bool {
	return r.Guard.MayRead(r.Caller, member, ref)
}

// MayFind tells whether a search in a member may find something that the caller may read.
func (r ReadRights) MayFind(member string, p conan.Pattern) bool {
	return r.Guard.MayFind(r.Caller, member, p)
}

// ReadableIn lists, in their order, those of the members in which the caller may read ref. If there
// are none, the error is ErrLogin for an anonymous caller and conan.ErrDenied for a user.
func (g *Guard) ReadableIn(c Caller, members []string, ref conan.Ref) ([]string, error) {
	robot := c.Robot()
	if !g.read.byMember && (robot == nil || !robot.Limits.ByMember()) {
		if !g.MayRead(c, "", ref) {
			return nil, refused("read", c, ref)
		}
		return members, nil
	}
	readable := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return !g.MayRead(c, m, ref) })
	if len(readable) == 0 {
		return nil, refused("read", c, ref)
	}
	return readable, nil
}

// MayWrite is nil if the caller may publish and delete ref in a store, ErrLogin if an anonymous
// caller may not, and conan.ErrDenied if a user may not.
func (g *Guard) MayWrite(c Caller, store string, ref conan.Ref) error {
	robot := c.Robot()
	outside := robot != nil && !robot.Limits.Writes(robot.Owner, store, ref)
	if outside || !g.write.allow(c.Owner(), store, ref) {
		return refused("write", c, ref)
	}
	return nil
}

// refused is the error of a caller without the right to read or write. It names no member.
func refused(what string, c Caller, ref conan.Ref) error {
	if c.Anonymous() {
		return fmt.Errorf("%w: anonymous callers may not %s %s", ErrLogin, what, ref)
	}
	return fmt.Errorf("%w: user %q may not %s %s", conan.ErrDenied, c.Name, what, ref)
}

// IsAdmin tells whether the caller is an administrator, which gives no right to read or write. A
// robot never is one.
func (g *Guard) IsAdmin(c Caller) bool { return c.Robot() == nil && g.admins.admits(c, g.groups) }

// WritesSomewhere is nil if a rule lets the user write something, whatever it is; else
// conan.ErrDenied.
func (g *Guard) WritesSomewhere(c Caller) error {
	if !g.write.admitsSomewhere(c.Owner()) {
		return fmt.Errorf("%w: user %q may write nothing here", conan.ErrDenied, c.Name)
	}
	return nil
}

// AnyWriter is what a check of credentials asks: nil for every user who logged in, and for
// anonymous callers if a rule lets them write something; else ErrLogin.
func (g *Guard) AnyWriter(c Caller) error {
	if !c.Anonymous() || g.write.admitsSomewhere(c) {
		return nil
	}
	return fmt.Errorf("%w: you are not logged in", ErrLogin)
}

// AnonymousReads tells whether anonymous callers may read ref in every one of the members, so that
// its files need no signature.
func (g *Guard) AnonymousReads(members []string, ref conan.Ref) bool {
	if !g.read.byMember {
		return g.read.allow(Caller{}, "", ref)
	}
	return !slices.ContainsFunc(members, func(m string) bool { return !g.MayRead(Caller{}, m, ref) })
}

// MayFind tells whether a search in a member may find something that the caller may read; it errs
// on the side of true. What is stored does not decide.
func (g *Guard) MayFind(c Caller, member string, p conan.Pattern) bool {
	if robot := c.Robot(); robot != nil && !robot.Limits.Finds(member, p) {
		return false
	}
	return g.read.meets(c.Owner(), member, p)
}

// MaySearch is nil if a search over the members may find something that the caller may read, and
// ErrLogin if an anonymous caller may read nothing that the pattern could match. What is stored
// does not decide, so that a search tells nothing about it.
func (g *Guard) MaySearch(c Caller, members []string, p conan.Pattern) error {
	may := func(m string) bool { return g.MayFind(c, m, p) }
	if !c.Anonymous() || slices.ContainsFunc(members, may) {
		return nil
	}
	return fmt.Errorf("%w: anonymous callers may read nothing that %q could match", ErrLogin, p)
}

// ReadClass is a word for all that the read rules ask about a caller: callers of one class may read
// the same. Those of a robot are its own and its owner's, who may stand in its pattern.
func (g *Guard) ReadClass(c Caller) string {
	class := g.read.class(c.Owner())
	if robot := c.Robot(); robot != nil {
		class += "\x00" + robot.Owner + "\x00" + robot.Limits.String()
	}
	return class
}
