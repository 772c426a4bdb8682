package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// Robots are the robot tokens that there are.
type Robots interface {
	// RobotOf finds the token of whose secret that is the SHA-256, or conan.ErrNotFound.
	RobotOf(secret [sha256.Size]byte) (*Robot, error)
	// RobotNamed finds the token of that name, or conan.ErrNotFound.
	RobotNamed(name string) (*Robot, error)
	// RobotUsed notes that a token was used. It does not block.
	RobotUsed(name string, now time.Time)
}

// Robot is a robot token: a login of a program, with some of the rights of its owner.
type Robot struct {
	Name, Owner string
	SHA256      [sha256.Size]byte // of the secret
	Limits      *Limits
	Created     time.Time
	Expires     time.Time // zero: never
}

// Rights are what a robot may do at most. Its owner must be allowed to do it too.
type Rights struct {
	Read    bool     `json:"read"`
	Write   bool     `json:"write"`
	Pattern string   `json:"pattern,omitempty"` // a conan.Glob, {user} is the owner; empty: all
	In      []string `json:"in,omitempty"`      // members; none: all
}

// Limits are rights that were checked.
type Limits struct {
	rights  Rights
	pattern conan.Glob
	text    string
}

// Bounds of the rights of a robot.
const (
	maxRobotMembers = 100
	maxRobotPattern = 300 // bytes; also of a member's name
)

// NewLimits checks rights: they allow something, and the pattern can be understood. Else the error
// is conan.ErrInvalid.
func NewLimits(r Rights) (*Limits, error) {
	switch {
	case !r.Read && !r.Write:
		return nil, fmt.Errorf("%w: a robot token needs the right to read or to write", conan.ErrInvalid)
	case len(r.In) > maxRobotMembers:
		return nil, fmt.Errorf("%w: a robot token names %d members, %d are the most", conan.ErrInvalid, len(r.In), maxRobotMembers)
	}
	for _, text := range append(slices.Clone(r.In), r.Pattern) {
		if len(text) > maxRobotPattern {
			return nil, fmt.Errorf("%w: the pattern or a member of a robot token is longer than %d bytes", conan.ErrInvalid, maxRobotPattern)
		}
	}
	pattern := r.Pattern
	if pattern == "" {
		pattern = "*"
	}
	l := &Limits{rights: r}
	var err error
	if l.pattern, err = conan.ParseGlob(pattern); err != nil {
		return nil, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the rights of a robot token: %w", err)
	}
	l.text = string(text)
	return l, nil
}

// ParseLimits reads what String wrote.
func ParseLimits(text string) (*Limits, error) {
	var r Rights
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, fmt.Errorf("read the rights of a robot token: %w", err)
	}
	return NewLimits(r)
}

// String is the rights as JSON; different limits have different texts.
func (l *Limits) String() string { return l.text }

// Rights are those that were checked.
func (l *Limits) Rights() Rights { return l.rights }

// Reads tells whether the limits let the owner's robot read ref in a member.
func (l *Limits) Reads(owner, member string, ref conan.Ref) bool {
	return l.rights.Read && l.speaksOf(member) && l.pattern.MatchFor(ref, owner)
}

// Writes tells whether the limits let the owner's robot write ref in a store.
func (l *Limits) Writes(owner, store string, ref conan.Ref) bool {
	return l.rights.Write && l.speaksOf(store) && l.pattern.MatchFor(ref, owner)
}

// Finds tells whether the limits let a robot read some reference of the member that the search
// could match; it errs on the side of true.
func (l *Limits) Finds(member string, p conan.Pattern) bool {
	return l.rights.Read && l.speaksOf(member) && l.pattern.MayMeet(p)
}

// ByMember tells whether the limits are about some members only.
func (l *Limits) ByMember() bool { return len(l.rights.In) > 0 }

func (l *Limits) speaksOf(member string) bool {
	return len(l.rights.In) == 0 || slices.Contains(l.rights.In, member)
}

// robotName is what a robot token can be named: every client can log in with it, and it reads well
// in a log.
var robotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// NewRobot makes a token, which is valid for life or, if that is 0, for ever, and its secret, which
// is kept nowhere. A name that no token can have and rights that are wrong are conan.ErrInvalid,
// the name of a user is conan.ErrConflict.
func (d *Directory) NewRobot(name, owner string, rights Rights, life time.Duration) (*Robot, string, error) {
	limits, err := NewLimits(rights)
	if err != nil {
		return nil, "", err
	}
	if !robotName.MatchString(name) {
		return nil, "", fmt.Errorf("%w: the name of a robot token is 1 to 64 letters, digits and _.-, and begins with a letter or digit", conan.ErrInvalid)
	}
	if _, exists := d.users.account(name); exists {
		return nil, "", fmt.Errorf("%w: there is a user %q, so no robot token can have that name", conan.ErrConflict, name)
	}
	random := make([]byte, robotSecretBytes)
	rand.Read(random) // never fails
	secret := robotPrefix + base64.RawURLEncoding.EncodeToString(random)
	robot := &Robot{Name: name, Owner: owner, SHA256: sha256.Sum256([]byte(secret)), Limits: limits, Created: d.tokens.now()}
	if life > 0 {
		robot.Expires = robot.Created.Add(life)
	}
	return robot, secret, nil
}

// robotPrefix begins every secret, so that it is told from a password and from a signed token, and
// found by programs that look for secrets in files.
const robotPrefix = "cpr_"

const robotSecretBytes = 32

// isRobotSecret tells whether a text has the form of a secret.
func isRobotSecret(text string) bool {
	encoded, ok := strings.CutPrefix(text, robotPrefix)
	return ok && len(encoded) == base64.RawURLEncoding.EncodedLen(robotSecretBytes)
}

// Robot is the token that the caller is, or nil for a person.
func (c Caller) Robot() *Robot { return c.robot }

// Owner is the caller whose rules hold: of a robot its owner, else the caller.
func (c Caller) Owner() Caller {
	if c.robot == nil {
		return c
	}
	return Caller{Name: c.robot.Owner}
}

// robotBySecret is the caller to whom a secret belongs. It is ErrLogin if there is none, and if the
// token has ended. The secret has 256 random bits, so how long a look-up takes tells nothing.
func (d *Directory) robotBySecret(secret string, addr netip.Addr) (Caller, error) {
	r, err := d.robots.RobotOf(sha256.Sum256([]byte(secret)))
	if errors.Is(err, conan.ErrNotFound) {
		return Caller{}, fmt.Errorf("%w: the robot token is not valid here, or was revoked", ErrLogin)
	}
	if err != nil {
		return Caller{}, err
	}
	c, err := d.asRobot(r)
	if err != nil {
		d.log.Warn("robot token refused", zap.String("token", r.Name), zap.Stringer("address", addr), zap.Error(err))
	}
	return c, err
}

// robotNamed is the token of a name as a caller, if it still is the one of the state.
func (d *Directory) robotNamed(name, state string) (Caller, error) {
	r, err := d.robots.RobotNamed(name)
	switch {
	case errors.Is(err, conan.ErrNotFound):
		return Caller{}, errGone
	case err != nil:
		return Caller{}, err
	case d.robotState(r) != state:
		return Caller{}, errGone
	}
	return d.asRobot(r)
}

// asRobot makes a token a caller. It is ErrLogin if the token has expired, if its owner is gone,
// and if a user has its name meanwhile: names in logs mean one caller.
func (d *Directory) asRobot(r *Robot) (Caller, error) {
	now := d.tokens.now()
	if !r.Expires.IsZero() && !now.Before(r.Expires) {
		return Caller{}, fmt.Errorf("%w: the robot token has expired", ErrLogin)
	}
	users := d.users.table()
	if _, ok := users[r.Owner]; !ok {
		return Caller{}, fmt.Errorf("%w: the owner of the robot token is gone", ErrLogin)
	}
	if _, ok := users[r.Name]; ok {
		return Caller{}, fmt.Errorf("%w: a user has the name of the robot token now", ErrLogin)
	}
	d.robots.RobotUsed(r.Name, now)
	return Caller{Name: r.Name, state: d.robotState(r), robot: r}, nil
}

// robotState is the state of a token. One that is made again under the same name has another.
func (d *Directory) robotState(r *Robot) string {
	return d.tokens.fingerprint("robot\x00" + string(r.SHA256[:]))
}

// noRobots is where there are no robot tokens.
type noRobots struct{}

func (noRobots) RobotOf([sha256.Size]byte) (*Robot, error) { return nil, conan.ErrNotFound }
func (noRobots) RobotNamed(string) (*Robot, error)         { return nil, conan.ErrNotFound }
func (noRobots) RobotUsed(string, time.Time)               {}
