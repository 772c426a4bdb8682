package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Tokens makes and reads everything that is signed with one secret. A token of one audience is none
// of another.
type Tokens struct {
	secret []byte
	now    func() time.Time
}

const (
	tokenIssuer = "conanproxy"
	audienceAPI = "conanproxy-api"
)

// apiClaims are the claims of an API token.
type apiClaims struct {
	jwt.RegisteredClaims
	State string `json:"state"` // of the caller when it was made
}

// issue makes an API token of a user who logged in.
func (t Tokens) issue(c Caller, life time.Duration) (string, error) {
	claims := apiClaims{RegisteredClaims: t.Claims(audienceAPI, life), State: c.state}
	claims.Subject = c.Name
	return t.Sign(claims)
}

// verify reads an API token. Whatever is wrong with it is ErrLogin.
func (t Tokens) verify(token string) (verifiedToken, error) {
	var claims apiClaims
	err := t.Parse(token, audienceAPI, &claims)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return verifiedToken{}, fmt.Errorf("%w: the token has expired", ErrLogin)
	case err != nil || claims.Subject == "":
		return verifiedToken{}, fmt.Errorf("%w: the token is not valid here", ErrLogin)
	}
	return verifiedToken{Caller{Name: claims.Subject, state: claims.State}, claims.ExpiresAt.Time}, nil
}

// fingerprint is a word for a secret text, from which that cannot be found.
func (t Tokens) fingerprint(text string) string {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte("state\x00" + text))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Claims are those that every token of an audience has.
func (t Tokens) Claims(audience string, life time.Duration) jwt.RegisteredClaims {
	now := t.now()
	return jwt.RegisteredClaims{
		Issuer:    tokenIssuer,
		Audience:  jwt.ClaimStrings{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	}
}

// Sign makes a token of claims.
func (t Tokens) Sign(claims jwt.Claims) (string, error) {
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(t.secret)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return s, nil
}

// Parse reads a token of one audience into claims. Its errors may quote the token, so callers look
// at them and never show them.
func (t Tokens) Parse(token, audience string, claims jwt.Claims) error {
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
