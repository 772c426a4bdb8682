package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/auth"
)

// Tokens are the robot tokens that there are.
type Tokens interface {
	CreateToken(ctx context.Context, t index.Token, by conan.Actor) error
	RevokeToken(ctx context.Context, name, owner string, by conan.Actor, now time.Time) error
	Tokens(ctx context.Context, owner string) ([]index.Token, error)
}

// NewToken is a token that was made. The secret is shown this once.
type NewToken struct {
	Name    string    `json:"name"`
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires,omitzero"`
}

// createToken makes a robot token of the caller.
func (a *API) createToken(c *Call) (any, error) {
	var body struct {
		Name string `json:"name"`
		auth.Rights
		ExpiresIn string `json:"expires_in"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if err := c.requirePerson(); err != nil {
		return nil, err
	}
	if err := c.Guard.WritesSomewhere(c.Caller); err != nil {
		return nil, err
	}
	life, err := lifetime(body.ExpiresIn)
	if err != nil {
		return nil, err
	}
	for _, name := range body.In {
		if !c.IsMember(name) {
			return nil, fmt.Errorf("%w: there is no store or upstream %.64q", conan.ErrInvalid, name)
		}
	}
	robot, secret, err := c.Guard.NewRobot(body.Name, c.Caller.Name, body.Rights, life)
	if err != nil {
		return nil, err
	}
	row := index.Token{
		Name: robot.Name, SHA256: hex.EncodeToString(robot.SHA256[:]), Owner: robot.Owner, Rights: robot.Limits.String(),
		Created: robot.Created, Expires: robot.Expires,
	}
	if err := a.Tokens.CreateToken(c.Context, row, c.Actor); err != nil {
		return nil, err
	}
	return NewToken{robot.Name, secret, robot.Expires}, nil
}

// lifetime reads how long a token is valid; 0 is for ever.
func lifetime(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	life, err := time.ParseDuration(text)
	if err != nil || life < time.Second {
		return 0, fmt.Errorf("%w: expires_in is a time of at least a second, like 720h", conan.ErrInvalid)
	}
	return life, nil
}

// TokenLine is one robot token.
type TokenLine struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	auth.Rights
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	LastUse time.Time `json:"last_use,omitzero"`
}

// tokens lists the caller's robot tokens, and all for an administrator.
func (a *API) tokens(c *Call) (any, error) {
	owner, err := c.tokensOf()
	if err != nil {
		return nil, err
	}
	rows, err := a.Tokens.Tokens(c.Context, owner)
	if err != nil {
		return nil, err
	}
	page := Page[TokenLine]{Lines: []TokenLine{}}
	for _, row := range rows {
		limits, err := auth.ParseLimits(row.Rights)
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", row.Name, err)
		}
		page.Lines = append(page.Lines, TokenLine{row.Name, row.Owner, limits.Rights(), row.Created, row.Expires, row.LastUse})
	}
	return page, nil
}

// revokeToken ends one of the caller's robot tokens, or any for an administrator.
func (a *API) revokeToken(c *Call) (any, error) {
	var body struct {
		Name string `json:"name"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	owner, err := c.tokensOf()
	if err != nil {
		return nil, err
	}
	if err := a.Tokens.RevokeToken(c.Context, body.Name, owner, c.Actor, time.Now()); err != nil {
		return nil, err
	}
	return struct {
		Revoked string `json:"revoked"`
	}{body.Name}, nil
}

// tokensOf is the owner whose tokens the caller manages; empty for an administrator, who manages
// all.
func (c *Call) tokensOf() (string, error) {
	if err := c.requirePerson(); err != nil {
		return "", err
	}
	if c.Guard.IsAdmin(c.Caller) {
		return "", nil
	}
	return c.Caller.Name, nil
}

// requirePerson refuses anonymous callers and robots.
func (c *Call) requirePerson() error {
	switch {
	case c.Caller.Anonymous():
		return fmt.Errorf("%w: robot tokens belong to a user", auth.ErrLogin)
	case c.Caller.Robot() != nil:
		return fmt.Errorf("%w: a robot token cannot manage robot tokens", conan.ErrDenied)
	}
	return nil
}
