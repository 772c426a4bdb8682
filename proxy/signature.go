package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"conanproxy/internal/conan"
)

// Grant is what a signed file URL allows: one method on one path.
type Grant struct {
	Method  string    // GET, which allows HEAD too, or PUT
	Path    string    // of the file, independent of the view
	Size    int64     // of an upload in bytes; 0 for a GET
	User    string    // who was given the URL; empty for an anonymous caller
	Stage   string    // of a declared upload; else empty
	Started time.Time // when the URL was made; set by Sign, whole seconds
}

// grantClaims are the claims of a signature.
type grantClaims struct {
	jwt.RegisteredClaims
	Method string `json:"met"`
	Path   string `json:"path"`
	Size   int64  `json:"size,omitempty"`
	Stage  string `json:"stage,omitempty"`
}

// Sign makes the signature of a file URL, which expires.
func (g *Guard) Sign(grant Grant) (string, error) {
	if grant.Method == "" || grant.Path == "" {
		return "", fmt.Errorf("%w: a signature needs a method and a path", conan.ErrInvalid)
	}
	claims := grantClaims{
		RegisteredClaims: g.tokens.claims(audienceFiles, g.life.signature),
		Method:           grant.Method,
		Path:             grant.Path,
		Size:             grant.Size,
		Stage:            grant.Stage,
	}
	claims.Subject = grant.User
	return g.tokens.sign(claims)
}

// maxSignature bounds the query argument; the path and a user's name are its longest parts.
const maxSignature = 8 << 10

// VerifySignature reads a signature and checks that it allows the method on the path.
// A bad one is conan.ErrDenied with the reason, never errLogin: a login does not mend it.
func (g *Guard) VerifySignature(signature, method, path string) (Grant, error) {
	if len(signature) > maxSignature {
		return Grant{}, fmt.Errorf("%w: the signature of the URL is broken: it is too long", conan.ErrDenied)
	}
	var claims grantClaims
	err := g.tokens.parse(signature, audienceFiles, &claims)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Grant{}, fmt.Errorf("%w: the signature of the URL has expired; ask for a new URL", conan.ErrDenied)
	case err != nil:
		return Grant{}, fmt.Errorf("%w: the signature of the URL is broken or not of this server", conan.ErrDenied)
	case claims.Path != path:
		return Grant{}, fmt.Errorf("%w: the signature of the URL is for another path", conan.ErrDenied)
	case claims.Method != method && !(claims.Method == http.MethodGet && method == http.MethodHead):
		return Grant{}, fmt.Errorf("%w: the signature of the URL is for another method, %s", conan.ErrDenied, claims.Method)
	}
	grant := Grant{Method: claims.Method, Path: claims.Path, Size: claims.Size, User: claims.Subject, Stage: claims.Stage}
	if claims.IssuedAt != nil {
		grant.Started = claims.IssuedAt.Time
	}
	return grant, nil
}
