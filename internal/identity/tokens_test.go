package identity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestTokenOfAnotherKind(t *testing.T) {
	now := time.Now()
	ours := Tokens{secret: testSecret, now: time.Now}
	claims := func(change func(*jwt.RegisteredClaims)) jwt.RegisteredClaims {
		c := ours.Claims(audienceAPI, time.Hour)
		c.Subject = "ann"
		if change != nil {
			change(&c)
		}
		return c
	}
	sign := func(method jwt.SigningMethod, key any, c jwt.Claims) string {
		s, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := sign(jwt.SigningMethodHS256, testSecret, claims(nil))
	if token, err := ours.verify(good); token.Name != "ann" || err != nil {
		t.Fatalf("a good token: %q, %v", token.Name, err)
	}
	tests := []struct{ name, token string }{
		{"empty", ""},
		{"two dots", ".."},
		{"another secret", sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", minSecret)), claims(nil))},
		{"an empty secret", sign(jwt.SigningMethodHS256, []byte{}, claims(nil))},
		{"HS512", sign(jwt.SigningMethodHS512, testSecret, claims(nil))},
		{"no algorithm", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil))},
		{"without an end", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }))},
		{"expired", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(now.Add(-time.Second)) }))},
		{"another issuer", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.Issuer = "conan" }))},
		{"no issuer", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.Issuer = "" }))},
		{"another audience", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"conanproxy-files"} }))},
		{"no audience", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.Audience = nil }))},
		{"no user", sign(jwt.SigningMethodHS256, testSecret, claims(func(c *jwt.RegisteredClaims) { c.Subject = "" }))},
		{"conan_server's own", sign(jwt.SigningMethodHS256, testSecret, jwt.MapClaims{"user": "ann", "exp": now.Add(time.Hour).Unix()})},
		{"changed payload", strings.Replace(good, ".", ".e", 1)},
		{"cut short", good[:len(good)-1]},
		{"more after it", good + "."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := ours.verify(tt.token)
			if token.Name != "" || !errors.Is(err, ErrLogin) {
				t.Errorf("user %q, error %v; want a login", token.Name, err)
			}
			if tt.token != "" && err != nil && len(tt.token) > 10 && strings.Contains(err.Error(), tt.token[:10]) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
}
