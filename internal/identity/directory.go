// Package identity knows who may log in: users with passwords, and the tokens that they get.
package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// ErrLogin is a refusal that a login would lift, or a login that failed. A caller with a valid token never gets it for
// want of rights: clients would log in again without end.
var ErrLogin = errors.New("log in")

// Caller is who asks: a user of the directory, or nobody in particular.
type Caller struct {
	Name string // empty for an anonymous caller
}

// Anonymous tells whether the caller did not log in.
func (c Caller) Anonymous() bool { return c.Name == "" }

// Options are what a Directory needs.
type Options struct {
	// HtpasswdFile has the users with bcrypt hashes; it is read again when it changes. Empty: there are no users.
	HtpasswdFile string
	// Secret signs tokens; at least 32 bytes.
	Secret []byte
	// TokenLifetime is how long an API token is valid; 0 is 24 h.
	TokenLifetime time.Duration
	// Log gets what is wrong with the users' file; nil is no log.
	Log *zap.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

const (
	minSecret       = 32 // bytes; HS256 gains nothing from more and loses from less
	defaultLifetime = 24 * time.Hour
)

// Directory tells who a caller is. It is safe for concurrent use.
type Directory struct {
	logins    *logins
	tokens    Tokens
	tokenLife time.Duration
}

// New checks the options and makes a Directory. A short secret and a negative lifetime are errors; an htpasswd file
// that is missing is only logged.
func New(o Options) (*Directory, error) {
	if len(o.Secret) < minSecret {
		return nil, fmt.Errorf("%w: the secret has %d bytes, %d are needed", conan.ErrInvalid, len(o.Secret), minSecret)
	}
	if o.TokenLifetime < 0 {
		return nil, fmt.Errorf("%w: the lifetime of tokens is negative", conan.ErrInvalid)
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = defaultLifetime
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	logins, err := newLogins(&userFile{path: o.HtpasswdFile, log: o.Log}, o.Now)
	if err != nil {
		return nil, fmt.Errorf("making a directory of users: %w", err)
	}
	logins.users.table() // problems of the file are to be seen at start
	return &Directory{
		logins:    logins,
		tokens:    Tokens{secret: append([]byte(nil), o.Secret...), now: o.Now},
		tokenLife: o.TokenLifetime,
	}, nil
}

// Tokens makes and reads what is signed with the directory's secret.
func (d *Directory) Tokens() Tokens { return d.tokens }

// State is a word that changes when the user's password does, and for which there is none if the user does not exist.
// It tells nothing about the password.
func (d *Directory) State(user string) (state string, exists bool) {
	hash, exists := d.logins.users.hash(user)
	if !exists {
		return "", false
	}
	return d.tokens.fingerprint(hash), true
}

// maxAuthorization bounds the header; a token is a few hundred bytes.
const maxAuthorization = 8 << 10

// Identify tells who calls, from the Authorization header: nobody in particular if there is
// none. Basic and Bearer are understood. What is wrong, expired or of a user that is no longer
// there is ErrLogin (401), also where anonymous callers may read: clients then drop their
// token. A wrong password may take seconds if addr had many of them; the error is that of ctx
// if it ends first.
func (d *Directory) Identify(ctx context.Context, authorization string, addr netip.Addr) (Caller, error) {
	if authorization == "" {
		return Caller{}, nil
	}
	if len(authorization) > maxAuthorization {
		return Caller{}, fmt.Errorf("%w: the Authorization header is too long", ErrLogin)
	}
	scheme, value, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	value = strings.TrimSpace(value)
	switch strings.ToLower(scheme) {
	case "basic":
		user, password, err := parseBasic(value)
		if err != nil {
			return Caller{}, err
		}
		if err := d.logins.check(ctx, user, password, addr); err != nil {
			return Caller{}, err
		}
		return Caller{Name: user}, nil
	case "bearer":
		return d.bearer(value)
	}
	return Caller{}, fmt.Errorf("%w: only Basic and Bearer are understood in the Authorization header", ErrLogin)
}

// parseBasic splits the credentials at the first colon: a password may have colons.
func parseBasic(value string) (user, password string, err error) {
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", fmt.Errorf("%w: the Basic credentials are not base64", ErrLogin)
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return "", "", fmt.Errorf("%w: the Basic credentials are not user:password", ErrLogin)
	}
	return user, password, nil
}

// bearer reads a token. It ends with its user, and with the password by which it was made.
func (d *Directory) bearer(token string) (Caller, error) {
	user, state, err := d.tokens.user(token)
	if err != nil {
		return Caller{}, err
	}
	switch now, exists := d.State(user); {
	case !exists:
		return Caller{}, fmt.Errorf("%w: the user of the token does not exist", ErrLogin)
	case now != state:
		return Caller{}, fmt.Errorf("%w: the password was changed after the token was made", ErrLogin)
	}
	return Caller{Name: user}, nil
}

// IssueToken makes the API token that a caller that logged in sends as Bearer afterwards. It is ErrLogin for an
// anonymous caller, and for a user that is no longer there.
func (d *Directory) IssueToken(c Caller) (string, error) {
	state, exists := d.State(c.Name)
	if c.Anonymous() || !exists {
		return "", fmt.Errorf("%w: a token needs a user and a password", ErrLogin)
	}
	return d.tokens.issue(c.Name, state, d.tokenLife)
}
