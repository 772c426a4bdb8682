// Package identity knows who may log in: users with passwords, and the tokens that they get.
package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// ErrLogin is a refusal that a login would lift, or a login that failed. A caller with a valid
// token never gets it for want of rights: clients would log in again without end.
var ErrLogin = errors.New("log in")

// errGone is the refusal of what was made for a login that is no more.
var errGone = fmt.Errorf("%w: the user of the token is gone or has a new password", ErrLogin)

// Caller is the user or robot that a request comes from, or the anonymous caller.
type Caller struct {
	Name string // empty for an anonymous caller; of a robot that of its token

	// state is that of the account by which the caller logged in. Tokens are made for it, so that
	// they end with the password that was shown, and not with one that was set meanwhile.
	state string

	robot *Robot // nil: a person
}

// Anonymous tells whether the caller did not log in.
func (c Caller) Anonymous() bool { return c.Name == "" }

// Options are what a Directory needs.
type Options struct {
	// HtpasswdFile has the users with bcrypt hashes; it is read again when it changes. Empty: there
	// are no users.
	HtpasswdFile string
	// Robots are the robot tokens; nil: there are none.
	Robots Robots
	// Secret signs tokens; at least 32 bytes.
	Secret []byte
	// TokenLifetime is how long an API token is valid; 0 is 24 h.
	TokenLifetime time.Duration
	// Metrics count logins; nil counts nothing. Directories of successive settings share one.
	Metrics *Metrics
	// Log gets what is wrong with the users' file, and refused logins; nil is no log.
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
	users     *userFile
	robots    Robots
	logins    *logins
	tokens    Tokens
	tokenLife time.Duration
	verified  *lru.Cache[string, verifiedToken] // tokens of which the signature was found right
	metrics   *Metrics
	log       *zap.Logger
}

// verifiedToken is what a token with a right signature says.
type verifiedToken struct {
	Caller
	expires time.Time
}

const verifiedTokens = 4096

// New checks the options and makes a Directory. A short secret and a negative lifetime are errors;
// an htpasswd file that is missing is only logged.
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
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Robots == nil {
		o.Robots = noRobots{}
	}
	tokens := Tokens{secret: append([]byte(nil), o.Secret...), now: o.Now}
	users := &userFile{path: o.HtpasswdFile, log: o.Log, now: o.Now, tokens: tokens, metrics: o.Metrics}
	logins, err := newLogins(users, o.Now)
	if err != nil {
		return nil, fmt.Errorf("making a directory of users: %w", err)
	}
	verified, err := lru.New[string, verifiedToken](verifiedTokens)
	if err != nil {
		return nil, fmt.Errorf("making a directory of users: %w", err)
	}
	users.table() // problems of the file are to be seen at start
	return &Directory{
		users:     users,
		robots:    o.Robots,
		logins:    logins,
		tokens:    tokens,
		tokenLife: o.TokenLifetime,
		verified:  verified,
		metrics:   o.Metrics,
		log:       o.Log,
	}, nil
}

// Tokens makes and reads what is signed with the directory's secret.
func (d *Directory) Tokens() Tokens { return d.tokens }

// HasUsers tells whether anybody can log in.
func (d *Directory) HasUsers() bool { return len(d.users.table()) > 0 }

// Problem is why the users' file cannot be read, and what that means for its users; nil if it can
// be read, does not exist yet, or none is configured.
func (d *Directory) Problem() error { return d.users.problem() }

// State is a word for the password that a caller logged in with. What is made for the caller
// carries it and ends when Current says no. It tells nothing about the password.
func (c Caller) State() string { return c.state }

// Current returns the user or robot as a caller, if it exists and has the password of the state;
// else ErrLogin.
func (d *Directory) Current(name, state string) (Caller, error) {
	a, exists := d.users.account(name)
	switch {
	case !exists:
		return d.robotNamed(name, state)
	case a.state != state:
		return Caller{}, errGone
	}
	return Caller{Name: name, state: state}, nil
}

// Named returns the user or robot of that name as a caller, with the rights of the moment; an empty
// name is the anonymous caller. It is ErrLogin if there is none. The name must come from where a
// caller was identified before.
func (d *Directory) Named(name string) (Caller, error) {
	if name == "" {
		return Caller{}, nil
	}
	if a, exists := d.users.account(name); exists {
		return Caller{Name: name, state: a.state}, nil
	}
	r, err := d.robots.RobotNamed(name)
	if errors.Is(err, conan.ErrNotFound) {
		return Caller{}, errGone
	}
	if err != nil {
		return Caller{}, err
	}
	return d.asRobot(r)
}

// maxAuthorization bounds the header; a token is a few hundred bytes.
const maxAuthorization = 8 << 10

// Identify finds the caller of a request by its Authorization header: the anonymous one if there is
// none. Basic and Bearer are understood. A wrong, broken or expired one and that of a user who is
// gone are ErrLogin (401), also where anonymous callers may read: clients then drop their token. A
// wrong password may take seconds if addr sent many of them; the error is that of ctx if it ends
// first, and ErrBusy if too many passwords are to be checked.
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
		return d.basic(ctx, value, addr)
	case "bearer":
		return d.bearer(value, addr)
	}
	return Caller{}, fmt.Errorf("%w: only Basic and Bearer are understood in the Authorization header", ErrLogin)
}

// basic checks a name and a password.
func (d *Directory) basic(ctx context.Context, value string, addr netip.Addr) (Caller, error) {
	readings, err := parseBasic(value)
	if err != nil {
		return Caller{}, err
	}
	c, err := d.login(ctx, readings, addr)
	switch {
	case err == nil:
		d.metrics.logins.WithLabelValues(loginOK).Inc()
	case errors.Is(err, ErrBusy):
		d.metrics.logins.WithLabelValues(loginBusy).Inc()
	case errors.Is(err, ErrLogin):
		d.metrics.logins.WithLabelValues(loginRefused).Inc()
		d.log.Warn("login refused", zap.String("user", shown(readings[0].user)), zap.Stringer("address", addr))
	}
	return c, err
}

// login finds the robot or user whose secret or password was sent. A wrong secret is a wrong
// password.
func (d *Directory) login(ctx context.Context, readings []credentials, addr netip.Addr) (Caller, error) {
	if sent := readings[0]; isRobotSecret(sent.password) {
		c, err := d.robotBySecret(sent.password, addr)
		if err == nil && c.Name == sent.user || err != nil && !errors.Is(err, ErrLogin) {
			return c, err
		}
	}
	return d.logins.check(ctx, readings, addr)
}

// parseBasic splits credentials at the first colon: a password may have colons. Conan's clients
// send letters beyond ASCII in Latin-1, others in UTF-8; there may be a reading in each.
func parseBasic(value string) ([]credentials, error) {
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("%w: the Basic credentials are not base64", ErrLogin)
	}
	var texts []string
	if utf8.Valid(decoded) {
		texts = append(texts, string(decoded))
	}
	if slices.ContainsFunc(decoded, func(c byte) bool { return c >= utf8.RuneSelf }) {
		texts = append(texts, latin1(decoded))
	}
	readings := make([]credentials, len(texts))
	for i, text := range texts {
		user, password, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%w: the Basic credentials are not user:password", ErrLogin)
		}
		readings[i] = credentials{user, password}
	}
	return readings, nil
}

// latin1 decodes ISO 8859-1, of which each byte is the number of its character.
func latin1(encoded []byte) string {
	var b strings.Builder
	for _, c := range encoded {
		b.WriteRune(rune(c))
	}
	return b.String()
}

// shown is a name that was sent, for the log: short, and without characters that could change how
// the line around it looks.
func shown(name string) string {
	const most = 64
	var b strings.Builder
	for i, r := range name {
		if i >= most {
			b.WriteRune('…')
			break
		}
		if !unicode.IsGraphic(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// bearer reads the secret of a robot, or a token that was given for a login, which ends with its
// user, and with the password by which it was made. The users are looked at each time; that the
// signature is right is remembered.
func (d *Directory) bearer(token string, addr netip.Addr) (Caller, error) {
	if isRobotSecret(token) {
		c, err := d.robotBySecret(token, addr)
		if errors.Is(err, ErrLogin) {
			d.metrics.refusedTokens.Inc()
		}
		return c, err
	}
	verified, ok := d.verified.Get(token)
	if !ok || !d.tokens.now().Before(verified.expires) {
		var err error
		if verified, err = d.tokens.verify(token); err != nil {
			d.metrics.refusedTokens.Inc()
			return Caller{}, err
		}
		d.verified.Add(token, verified)
	}
	c, err := d.Current(verified.Name, verified.state)
	if errors.Is(err, ErrLogin) {
		d.metrics.refusedTokens.Inc()
		d.log.Warn("token refused", zap.String("user", shown(verified.Name)), zap.Stringer("address", addr), zap.Error(err))
	}
	return c, err
}

// IssueToken makes the API token that a caller who logged in sends as Bearer afterwards. It is
// ErrLogin for an anonymous caller.
func (d *Directory) IssueToken(c Caller) (string, error) {
	if c.Anonymous() {
		return "", fmt.Errorf("%w: a token needs a user and a password", ErrLogin)
	}
	return d.tokens.issue(c, d.tokenLife)
}
