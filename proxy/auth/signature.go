package auth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"conanproxy/internal/conan"
)

// audienceFiles is that of signatures, which are no API tokens.
const audienceFiles = "conanproxy-files"

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
	State  string `json:"state,omitempty"` // of the user when it was made
}

// Sign makes the signature of a file URL, which expires.
func (g *Guard) Sign(grant Grant) (string, error) {
	if grant.Method == "" || grant.Path == "" {
		return "", fmt.Errorf("%w: a signature needs a method and a path", conan.ErrInvalid)
	}
	claims := grantClaims{
		RegisteredClaims: g.Tokens().Claims(audienceFiles, g.signatureLife),
		Method:           grant.Method,
		Path:             grant.Path,
		Size:             grant.Size,
		Stage:            grant.Stage,
	}
	if grant.User != "" {
		claims.Subject = grant.User
		claims.State, _ = g.State(grant.User)
	}
	return g.Tokens().Sign(claims)
}

// maxSignature bounds the query argument; the path and a user's name are its longest parts.
const maxSignature = 8 << 10

// VerifySignature reads a signature and checks that it allows the method on the path, and that its user is still there with
// the same password. The caller asks for the user's rights.
// A bad one is conan.ErrDenied with the reason; never identity.ErrLogin: a login does not mend it.
func (g *Guard) VerifySignature(signature, method, path string) (Grant, error) {
	if len(signature) > maxSignature {
		return Grant{}, fmt.Errorf("%w: the signature of the URL is broken: it is too long", conan.ErrDenied)
	}
	var claims grantClaims
	err := g.Tokens().Parse(signature, audienceFiles, &claims)
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
	if state, _ := g.State(claims.Subject); claims.Subject != "" && state != claims.State {
		return Grant{}, fmt.Errorf("%w: the user of the signed URL is gone or has a new password; ask for a new URL", conan.ErrDenied)
	}
	grant := Grant{Method: claims.Method, Path: claims.Path, Size: claims.Size, User: claims.Subject, Stage: claims.Stage}
	if claims.IssuedAt != nil {
		grant.Started = claims.IssuedAt.Time
	}
	return grant, nil
}
