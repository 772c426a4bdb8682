package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokens makes and reads everything that is signed with the secret. An API token is no file
// signature and the reverse: the audiences differ.
type tokens struct {
	secret []byte
	now    func() time.Time
}

const (
	tokenIssuer   = "conanproxy"
	audienceAPI   = "conanproxy-api"
	audienceFiles = "conanproxy-files"
)

// issue makes an API token.
func (t tokens) issue(user string, life time.Duration) (string, error) {
	claims := t.claims(audienceAPI, life)
	claims.Subject = user
	return t.sign(claims)
}

// user reads an API token. Whatever is wrong with it is errLogin.
func (t tokens) user(token string) (string, error) {
	var claims jwt.RegisteredClaims
	err := t.parse(token, audienceAPI, &claims)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", fmt.Errorf("%w: the token has expired", errLogin)
	case err != nil || claims.Subject == "":
		return "", fmt.Errorf("%w: the token is not valid here", errLogin)
	}
	return claims.Subject, nil
}

func (t tokens) claims(audience string, life time.Duration) jwt.RegisteredClaims {
	now := t.now()
	return jwt.RegisteredClaims{
		Issuer:    tokenIssuer,
		Audience:  jwt.ClaimStrings{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	}
}

func (t tokens) sign(claims jwt.Claims) (string, error) {
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(t.secret)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return s, nil
}

// parse reads a token of one audience into claims. Its errors may quote the token, so they
// are looked at and never shown.
func (t tokens) parse(token, audience string, claims jwt.Claims) error {
	_, err := jwt.ParseWithClaims(token, claims,
		func(*jwt.Token) (any, error) { return t.secret, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithIssuer(tokenIssuer),
		jwt.WithAudience(audience),
		jwt.WithTimeFunc(t.now),
		jwt.WithStrictDecoding(),
	)
	return err
}
