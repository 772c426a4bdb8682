package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// errLogin is a refusal that a login would lift, or a login that failed: status 401. A caller
// with a valid token never gets it for want of rights: clients would log in again without end.
var errLogin = errors.New("log in")

// Guard decides who a caller is and what the caller may do. It is safe for concurrent use.
type Guard struct {
	logins *logins
	tokens tokens
	life   struct{ token, signature time.Duration }

	mu          sync.RWMutex
	read, write ruleList
}

// GuardOptions are what a Guard needs.
type GuardOptions struct {
	// HtpasswdFile has the users with bcrypt hashes; it is read again when it changes. Empty: there are no users.
	HtpasswdFile string
	// Secret signs tokens and file URLs; at least 32 bytes.
	Secret []byte
	// TokenLifetime is how long an API token is valid; 0 is 24 h.
	TokenLifetime time.Duration
	// SignatureLifetime is how long a signed file URL is valid; 0 is 24 h.
	SignatureLifetime time.Duration
	// Read and Write are tried in order; the first whose pattern matches decides, none refuses.
	Read, Write []Rule
	// Log gets what is wrong with the users' file; nil is no log.
	Log *zap.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

const (
	minSecret       = 32 // bytes; HS256 gains nothing from more and loses from less
	defaultLifetime = 24 * time.Hour
)

// NewGuard checks the options and makes a Guard. A short secret, a negative lifetime and a
// rule that cannot be understood are errors; an htpasswd file that is missing is only logged.
func NewGuard(o GuardOptions) (*Guard, error) {
	if len(o.Secret) < minSecret {
		return nil, fmt.Errorf("%w: the secret has %d bytes, %d are needed", conan.ErrInvalid, len(o.Secret), minSecret)
	}
	if o.TokenLifetime < 0 || o.SignatureLifetime < 0 {
		return nil, fmt.Errorf("%w: the lifetime of tokens or signatures is negative", conan.ErrInvalid)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Guard{tokens: tokens{secret: append([]byte(nil), o.Secret...), now: o.Now}}
	g.life.token = orDefault(o.TokenLifetime, defaultLifetime)
	g.life.signature = orDefault(o.SignatureLifetime, defaultLifetime)
	logins, err := newLogins(&userFile{path: o.HtpasswdFile, log: o.Log}, o.Now)
	if err != nil {
		return nil, fmt.Errorf("making a guard: %w", err)
	}
	g.logins = logins
	logins.users.table() // problems of the file are to be seen at start
	if err := g.SetRules(o.Read, o.Write); err != nil {
		return nil, err
	}
	return g, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// SetRules replaces all rules at once. If one of them is bad, nothing changes.
func (g *Guard) SetRules(read, write []Rule) error {
	r, err := compileRules("read", read)
	if err != nil {
		return err
	}
	w, err := compileRules("write", write)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.read, g.write = r, w
	g.mu.Unlock()
	return nil
}

// maxAuthorization bounds the header; a token is a few hundred bytes.
const maxAuthorization = 8 << 10

// Identify tells who calls, from the Authorization header: nobody in particular if there is
// none. Basic and Bearer are understood. What is wrong, expired or of a user who is no longer
// there is errLogin (401), also where anonymous callers may read: clients then drop their
// token. A wrong password may take seconds if addr had many of them; the error is that of ctx
// if it ends first.
func (g *Guard) Identify(ctx context.Context, authorization string, addr netip.Addr) (Caller, error) {
	if authorization == "" {
		return Caller{}, nil
	}
	if len(authorization) > maxAuthorization {
		return Caller{}, fmt.Errorf("%w: the Authorization header is too long", errLogin)
	}
	scheme, value, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	value = strings.TrimSpace(value)
	switch strings.ToLower(scheme) {
	case "basic":
		user, password, err := parseBasic(value)
		if err != nil {
			return Caller{}, err
		}
		if err := g.logins.check(ctx, user, password, addr); err != nil {
			return Caller{}, err
		}
		return Caller{Name: user}, nil
	case "bearer":
		return g.bearer(value)
	}
	return Caller{}, fmt.Errorf("%w: only Basic and Bearer are understood in the Authorization header", errLogin)
}

// parseBasic splits the credentials at the first colon: a password may have colons.
func parseBasic(value string) (user, password string, err error) {
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", fmt.Errorf("%w: the Basic credentials are not base64", errLogin)
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return "", "", fmt.Errorf("%w: the Basic credentials are not user:password", errLogin)
	}
	return user, password, nil
}

func (g *Guard) bearer(token string) (Caller, error) {
	user, err := g.tokens.user(token)
	if err != nil {
		return Caller{}, err
	}
	if !g.logins.users.has(user) {
		return Caller{}, fmt.Errorf("%w: the user of the token does not exist", errLogin)
	}
	return Caller{Name: user}, nil
}

// IssueToken makes the API token that a caller who logged in sends as Bearer afterwards.
// It is errLogin for an anonymous caller.
func (g *Guard) IssueToken(c Caller) (string, error) {
	if c.Anonymous() {
		return "", fmt.Errorf("%w: a token needs a user and a password", errLogin)
	}
	return g.tokens.issue(c.Name, g.life.token)
}

// MayRead is nil if the caller may read ref, errLogin if an anonymous caller may not, and
// conan.ErrDenied if a user may not.
func (g *Guard) MayRead(c Caller, ref conan.Ref) error {
	return g.may("read", c, ref)
}

// MayWrite is nil if the caller may publish and delete ref, errLogin if an anonymous caller
// may not, and conan.ErrDenied if a user may not.
func (g *Guard) MayWrite(c Caller, ref conan.Ref) error {
	return g.may("write", c, ref)
}

func (g *Guard) may(what string, c Caller, ref conan.Ref) error {
	read, write := g.rules()
	list := read
	if what == "write" {
		list = write
	}
	switch {
	case list.allow(c, ref):
		return nil
	case c.Anonymous():
		return fmt.Errorf("%w: anonymous callers may not %s %s", errLogin, what, ref)
	}
	return fmt.Errorf("%w: user %q may not %s %s", conan.ErrDenied, c.Name, what, ref)
}

func (g *Guard) rules() (read, write ruleList) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.read, g.write
}

// AnyWriter is what a check of credentials asks: nil for every user who logged in, and for
// anonymous callers if a rule lets them write something; else errLogin.
func (g *Guard) AnyWriter(c Caller) error {
	_, write := g.rules()
	if !c.Anonymous() || write.admitsSomewhere(c) {
		return nil
	}
	return fmt.Errorf("%w: you are not logged in", errLogin)
}

// AnonymousMayRead tells whether a file of ref needs no signature.
func (g *Guard) AnonymousMayRead(ref conan.Ref) bool {
	return g.MayRead(Caller{}, ref) == nil
}

// FilterReadable returns the references that the caller may read, in their order.
// removedAll tells that there were some and rights removed every one.
func (g *Guard) FilterReadable(c Caller, refs []conan.Ref) (readable []conan.Ref, removedAll bool) {
	read, _ := g.rules()
	readable = make([]conan.Ref, 0, len(refs))
	for _, ref := range refs {
		if read.allow(c, ref) {
			readable = append(readable, ref)
		}
	}
	return readable, len(refs) > 0 && len(readable) == 0
}
