package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
)

// mountPoint is the part of a path before the API: how it was spelled and the view that it selects.
type mountPoint struct {
	prefix string // "", "/local", "/api/v4/projects/all/packages/conan"
	name   string // of the view, as the path has it
	view   *View  // nil: there is none
	moment string // the time of which the view tells, as the path has it; empty: now
}

// findMount cuts the mount off a clean path; the rest begins with "/v1", "/v2" or is a page.
//
//	/…                                          the view at the root
//	/local/…  /r/{name}/…  /upstream/{name}/…   the view at that path
//	/r/{name}/at/{time}/…                       that view as it was
//	[/api/v4]/packages/conan/…                  the view at the root
//	[/api/v4]/projects/{view}/packages/conan/…  any view, by its name
func (s *Settings) findMount(path string) (m mountPoint, rest string) {
	if m, rest, ok := s.gitlabMount(path); ok {
		return m, rest
	}
	for n := 1; n <= 2; n++ {
		prefix, rest, ok := cutSegments(path, n)
		if !ok {
			break
		}
		if v := s.byPath[prefix]; v != nil {
			m := mountPoint{prefix: prefix, name: v.Name, view: v}
			if s.moments.at == nil {
				return m, rest
			}
			return momentMount(m, rest)
		}
		if folder, name, ok := strings.Cut(prefix[1:], "/"); ok && (folder == "r" || folder == "upstream") {
			return mountPoint{prefix: prefix, name: name}, rest
		}
	}
	return mountPoint{view: s.byPath[""]}, path
}

// gitlabMount finds the prefixes that GitLab's documentation gives to its users.
func (s *Settings) gitlabMount(path string) (m mountPoint, rest string, ok bool) {
	const conanPath = "/packages/conan"
	rest, _ = cutPrefix(path, "/api/v4")
	name := ""
	if project, ok := cutPrefix(rest, "/projects"); ok {
		segment, afterName, ok := cutSegments(project, 1)
		if !ok {
			return mountPoint{}, path, false
		}
		name, rest = segment[1:], afterName
	}
	if rest, ok = cutPrefix(rest, conanPath); !ok {
		return mountPoint{}, path, false
	}
	m = mountPoint{prefix: path[:len(path)-len(rest)], name: name, view: s.byName[name]}
	switch {
	case m.view != nil:
	case name == "", name == "all":
		m.view = s.byPath[""]
	case name == "local":
		m.view = s.byPath["/local"]
	}
	return m, rest, true
}

// mount finds the view that the path selects and leaves the router the rest of the path, unescaped
// once. Paths that are not clean end here, without a redirect.
func (r *request) mount() error {
	path, trailing, err := cleanPath(r.req.URL.EscapedPath())
	if err != nil {
		return badPath(r.req, err)
	}
	forwarded := r.settings.forwardedPrefix(r.req)
	r.external = r.settings.urls.external(forwarded)
	r.mounted, r.path = r.settings.findMount(r.settings.urls.cutBase(path, forwarded))
	r.generation = generationOf(r.req, r.path)
	if err := r.selectView(trailing); err != nil {
		return err
	}
	if r.path == "" {
		r.path = "/"
	}
	if r.req.URL.Path != r.path || r.req.URL.RawPath != "" {
		routed := *r.req
		routed.URL = &url.URL{Path: r.path, RawQuery: r.req.URL.RawQuery}
		r.req = &routed
	}
	return nil
}

// selectView takes the view for the API and for the page of a mount; the other pages are at the
// root only. Where there is no remote, clients must not be told "not found", and a ping least of
// all: they would skip the remote, and then look elsewhere or build from source without a word.
func (r *request) selectView(trailing bool) error {
	view := r.mounted.view
	if r.mounted.moment != "" {
		var err error
		if view, err = r.settings.moments.viewAt(view, r.mounted.moment, r.started); err != nil {
			return err
		}
	}
	isAPI := isAPIPath(r.path)
	switch {
	case r.mounted.prefix != "" && r.mounted.view == nil:
		return refuse(statusShown, "no store, upstream or view %q here; the page at the root of this server lists its Conan remotes", clip(r.mounted.name))
	case !isAPI && (strings.HasSuffix(r.path, "/v1/ping") || strings.HasSuffix(r.path, "/v2/ping")):
		return refuse(statusShown, "%s", routingText(http.StatusNotFound))
	case r.path != "" && trailing, r.path != "" && !isAPI && r.mounted.prefix != "":
		return echo.ErrNotFound
	case isAPI && r.mounted.view == nil:
		return refuse(statusShown, "there is no Conan remote at the root of this server; the page there lists those that it has")
	case isAPI || r.mounted.prefix != "":
		r.view = view
	}
	return nil
}

func isAPIPath(path string) bool {
	version, _, _ := cutSegments(path, 1)
	return version == "/v1" || version == "/v2"
}

// generationOf tells the client's generation: v1 routes are Conan 1, on others the User-Agent
// tells.
func generationOf(req *http.Request, path string) conan.Generation {
	agent := req.UserAgent()
	switch {
	case strings.HasPrefix(path, "/v1/"), strings.HasPrefix(agent, "Conan/1."):
		return conan.Conan1
	case strings.HasPrefix(agent, "Conan/2."):
		return conan.Conan2
	}
	return conan.AnyGeneration
}

// badPath turns a path that cannot be one of ours into "not found" for readers, so that they look
// at their next remote, and into "invalid" for writers.
func badPath(req *http.Request, err error) error {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return refuse(http.StatusNotFound, "not found: %s", sentence(err))
	}
	return refuse(http.StatusBadRequest, "%s", sentence(err))
}
