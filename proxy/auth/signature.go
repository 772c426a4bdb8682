package auth

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/golang-jwt/jwt/v5"

	"conanproxy/internal/conan"
)

// audienceFiles is that of signatures, which are no API tokens.
const audienceFiles = "conanproxy-files"

// Grant is what a signed file URL allows: one method on one path.
type Grant struct {
	Method string // GET, which allows HEAD too, or PUT
	Path   string // of the file, the same in every view
	View   string // in which the URL is valid
	Member string // the store that takes an upload; empty for a GET
	Size   int64  // of an upload in bytes; 0 for a GET
	Caller Caller // that was given the URL
	Stage  string // of a declared upload; else empty
}

// grantClaims are the claims of a signature.
type grantClaims struct {
	jwt.RegisteredClaims
	Method string `json:"met"`
	Path   string `json:"path"`
	View   string `json:"view,omitempty"`
	Member string `json:"mem,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Stage  string `json:"stage,omitempty"`
	State  string `json:"state,omitempty"` // of the caller when it was made
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
		View:             grant.View,
		Member:           grant.Member,
		Size:             grant.Size,
		Stage:            grant.Stage,
		State:            grant.Caller.State(),
	}
	claims.Subject = grant.Caller.Name
	return g.Tokens().Sign(claims)
}

// maxSignature bounds the query argument; the path and a user's name are its longest parts.
const maxSignature = 8 << 10

// VerifySignature reads a signature and checks that it allows the method on the path, and that its
// user is still there with the same password. Its caller's rights are to be asked: they may have
// changed; and so is whether View and Member are those of the request. A bad signature is
// conan.ErrDenied with the reason, never ErrLogin: a login does not mend it.
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
	grant := Grant{
		Method: claims.Method, Path: claims.Path, View: claims.View, Member: claims.Member,
		Size: claims.Size, Stage: claims.Stage,
	}
	if claims.Subject == "" {
		return grant, nil
	}
	grant.Caller, err = g.Current(claims.Subject, claims.State)
	if errors.Is(err, ErrLogin) {
		return Grant{}, fmt.Errorf("%w: the user of the signed URL is gone or has a new password; ask for a new URL", conan.ErrDenied)
	}
	return grant, err
}
