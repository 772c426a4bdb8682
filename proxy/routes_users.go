package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
)

// authenticate changes a user name and a password for a token, the whole body of the answer.
func (s *Server) authenticate(r *request) error {
	token, err := s.login(r)
	if errors.Is(err, errLogin) {
		r.Response().Header().Set(echo.HeaderWWWAuthenticate, `Basic realm="conanproxy", charset="UTF-8"`)
	}
	if err != nil {
		return err
	}
	r.Response().Header().Set("Cache-Control", "no-store")
	return r.text(http.StatusOK, token)
}

func (s *Server) login(r *request) (string, error) {
	scheme, _, _ := strings.Cut(strings.TrimSpace(r.Request().Header.Get(echo.HeaderAuthorization)), " ")
	if !strings.EqualFold(scheme, "basic") {
		return "", fmt.Errorf("%w: this call takes a user and a password as Basic authentication", errLogin)
	}
	if err := s.identify(r); err != nil {
		return "", err
	}
	return s.guard.IssueToken(r.caller)
}

// checkCredentials is asked before uploads and deletes; its text is the user's name.
func (s *Server) checkCredentials(r *request) error {
	if err := s.identify(r); err != nil {
		return err
	}
	if err := s.guard.AnyWriter(r.caller); err != nil {
		return err
	}
	r.Response().Header().Set("Cache-Control", "no-store")
	return r.text(http.StatusOK, r.caller.Name)
}

// search lists the references that match and that the caller may read. It is 401 only if a login
// could show something: rights took every match from an anonymous caller.
func (s *Server) search(r *request) error {
	if err := s.identify(r); err != nil {
		return err
	}
	query := r.QueryParams()
	pattern, err := conan.ParsePattern(query.Get("q"), !strings.EqualFold(query.Get("ignorecase"), "false"))
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", sentence(err))
	}
	return s.kept(r, true, func() (*document, error) { return s.searchResults(r, pattern) })
}

func (s *Server) searchResults(r *request, pattern conan.Pattern) (*document, error) {
	r.merged = true
	found, err := r.reader().Search(r.ctx(), pattern)
	if err != nil {
		return nil, err
	}
	readable, removedAll := s.guard.FilterReadable(r.caller, found)
	if removedAll && r.caller.Anonymous() {
		return nil, fmt.Errorf("%w: anonymous callers may read nothing of what matches", errLogin)
	}
	results := make([]string, 0, len(readable))
	for _, ref := range readable {
		if r.generation == conan.Conan1 && !ref.ValidV1() {
			continue // one such reference would abort the whole search of a Conan 1 client
		}
		results = append(results, ref.String())
	}
	slices.Sort(results)
	return jsonDocument(map[string][]string{"results": slices.Compact(results)})
}
