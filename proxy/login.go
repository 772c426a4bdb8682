package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"conanproxy/proxy/auth"
)

// authenticate changes a user name and a password for a token, the whole body of the answer.
func (s *Server) authenticate(r *request) error {
	token, err := r.login()
	if errors.Is(err, auth.ErrLogin) {
		r.Header().Set("WWW-Authenticate", `Basic realm="conanproxy", charset="UTF-8"`)
	}
	if err != nil {
		return err
	}
	r.Header().Set("Cache-Control", "no-store")
	return r.text(http.StatusOK, token)
}

func (r *request) login() (string, error) {
	scheme, _, _ := strings.Cut(strings.TrimSpace(r.req.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", fmt.Errorf("%w: this call takes a user and a password as Basic authentication", auth.ErrLogin)
	}
	if err := r.identify(); err != nil {
		return "", err
	}
	return r.settings.guard.IssueToken(r.caller)
}

// checkCredentials is asked before uploads and deletes; its text is the user's name.
func (s *Server) checkCredentials(r *request) error {
	if err := r.identify(); err != nil {
		return err
	}
	if err := r.settings.guard.AnyWriter(r.caller); err != nil {
		return err
	}
	r.Header().Set("Cache-Control", "no-store")
	return r.text(http.StatusOK, r.caller.Name)
}
