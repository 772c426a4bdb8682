// Package auth decides what a caller may do: rules over references, and signatures of file URLs.
package auth

import (
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/identity"
)

// Caller is who asks.
type Caller = identity.Caller

// ErrLogin is a refusal that a login would lift, or a login that failed: status 401.
var ErrLogin = identity.ErrLogin

// Guard decides who a caller is and what the caller may do. Its rules never change; users and
// tokens are those of the Directory, which Guards of successive settings share. It is safe for
// concurrent use.
type Guard struct {
	*identity.Directory
	signatureLife time.Duration
	read, write   ruleList
}

// Options are what a Guard needs.
type Options struct {
	Directory *identity.Directory // required
	// SignatureLifetime is how long a signed file URL is valid; 0 is 24 h.
	SignatureLifetime time.Duration
	// Read and Write are tried in order; the first whose pattern matches decides, none refuses.
	Read, Write []Rule
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
	read, err := compileRules("read", o.Read)
	if err != nil {
		return nil, err
	}
	write, err := compileRules("write", o.Write)
	if err != nil {
		return nil, err
	}
	return &Guard{Directory: o.Directory, signatureLife: o.SignatureLifetime, read: read, write: write}, nil
}

// MayRead is nil if the caller may read ref, ErrLogin if an anonymous caller may not, and
// conan.ErrDenied if a user may not.
func (g *Guard) MayRead(c Caller, ref conan.Ref) error {
	return g.may("read", c, ref)
}

// MayWrite is nil if the caller may publish and delete ref, ErrLogin if an anonymous caller
// may not, and conan.ErrDenied if a user may not.
func (g *Guard) MayWrite(c Caller, ref conan.Ref) error {
	return g.may("write", c, ref)
}

func (g *Guard) may(what string, c Caller, ref conan.Ref) error {
	list := g.read
	if what == "write" {
		list = g.write
	}
	switch {
	case list.allow(c, ref):
		return nil
	case c.Anonymous():
		return fmt.Errorf("%w: anonymous callers may not %s %s", ErrLogin, what, ref)
	}
	return fmt.Errorf("%w: user %q may not %s %s", conan.ErrDenied, c.Name, what, ref)
}

// AnyWriter is what a check of credentials asks: nil for every user who logged in, and for
// anonymous callers if a rule lets them write something; else ErrLogin.
func (g *Guard) AnyWriter(c Caller) error {
	if !c.Anonymous() || g.write.admitsSomewhere(c) {
		return nil
	}
	return fmt.Errorf("%w: you are not logged in", ErrLogin)
}

// AnonymousMayRead tells whether a file of ref needs no signature.
func (g *Guard) AnonymousMayRead(ref conan.Ref) bool {
	return g.MayRead(Caller{}, ref) == nil
}

// MaySearch is nil if a search may find something that the caller may read, and ErrLogin if an
// anonymous caller may read nothing that the pattern could match. What is stored does not decide,
// so that a search tells nothing about it.
func (g *Guard) MaySearch(c Caller, p conan.Pattern) error {
	if !c.Anonymous() || g.read.meets(c, p) {
		return nil
	}
	return fmt.Errorf("%w: anonymous callers may read nothing that %q could match", ErrLogin, p)
}

// FilterReadable returns the references that the caller may read, in their order.
func (g *Guard) FilterReadable(c Caller, refs []conan.Ref) []conan.Ref {
	readable := make([]conan.Ref, 0, len(refs))
	for _, ref := range refs {
		if g.read.allow(c, ref) {
			readable = append(readable, ref)
		}
	}
	return readable
}
