package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// request is one HTTP request, its answer, and what was found out about it on the way to its
// handler. It must not outlive the handler: the parameters of the route are used again.
type request struct {
	response
	req      *http.Request // as it is routed: its URL has the path below the mount
	settings *Settings     // of the moment when it began
	uses     Uses          // of the server
	started  time.Time
	addr     netip.Addr // of the client, through trusted proxies
	id       string     // names it in logs and in answers that are errors

	external   string // URL prefix before the mount
	mounted    mountPoint
	view       *View // nil for pages at the root
	path       string
	generation conan.Generation

	route  string       // the template of the path; empty: none matched
	params echo.Context // of the route
	query  url.Values   // once parsed

	rev        conan.Revision // that the path names, once parsed
	caller     auth.Caller    // once identified
	identified bool
	readableIn []string        // the view's members in which the caller may read rev; none: not asked
	asked      resolver.Reader // with the caller's rights, once used
	grant      *auth.Grant     // of a signed URL, once verified

	origin  conan.Origin // of what was answered
	opened  use          // the revision whose file was opened, once it was
	failure string       // what was wrong, for the access log
	aborted bool         // the body was ended short on purpose
	stalled bool         // the client sent nothing of its body for too long
}

// nosniff keeps browsers from guessing what the bytes of a package are.
var nosniff = []string{"nosniff"}

// begin makes the request.
func (s *Server) begin(w http.ResponseWriter, req *http.Request) *request {
	settings := s.settings.Load()
	r := &request{
		response: response{ResponseWriter: w, status: http.StatusOK},
		req:      req,
		settings: settings,
		uses:     s.uses,
		started:  s.now(),
		addr:     settings.trusted.clientAddr(req),
		id:       s.ids.of(req, settings.trusted),
	}
	r.Header()["X-Content-Type-Options"] = nosniff
	s.metrics.inFlight.Inc()
	return r
}

// finish is the last word on a request, whatever became of it.
func (s *Server) finish(r *request) {
	s.metrics.inFlight.Dec()
	took := s.now().Sub(r.started)
	s.metrics.count(r, took)
	s.logAccess(r, took)
}

func (r *request) ctx() context.Context { return r.req.Context() }

// actor is the caller as the audit names it.
func (r *request) actor() conan.Actor {
	return conan.Actor{Name: r.caller.Name, Address: r.addr.String()}
}

func (r *request) viewName() string {
	if r.view == nil {
		return ""
	}
	return r.view.Name
}

// viewLabel is the view's name in metrics, which have no moments: those are a client's word.
func (r *request) viewLabel() string {
	if r.view != nil && r.view.today != nil {
		return r.view.today.Name
	}
	return r.viewName()
}

// reader answers the reading questions for the request's view, generation and caller, who is
// identified.
func (r *request) reader() resolver.Reader {
	if r.asked == nil {
		r.asked = r.view.Resolver.For(r.generation, r.rights())
	}
	return r.asked
}

// param is a parameter of the route, unescaped.
func (r *request) param(name string) string { return r.params.Param(name) }

// argument is the first value of a query argument; empty if there is none.
func (r *request) argument(name string) string {
	if r.req.URL.RawQuery == "" {
		return ""
	}
	if r.query == nil {
		r.query = r.req.URL.Query()
	}
	return r.query.Get(name)
}

// url is the URL of a path below the mount as the client reaches it.
func (r *request) url(path string) string { return r.external + r.mounted.prefix + path }

// revision is the node of the tree that the path names. v1 paths must be valid for Conan 1;
// their revision "0" is the newest.
func (r *request) revision() (conan.Revision, error) {
	rev, err := r.parseRevision()
	if err != nil {
		return conan.Revision{}, badPath(r.req, err)
	}
	r.rev = rev
	return rev, nil
}

func (r *request) parseRevision() (conan.Revision, error) {
	ref, err := conan.NewRef(r.param("name"), r.param("version"), r.param("user"), r.param("channel"))
	if err != nil {
		return conan.Revision{}, err
	}
	rrev, prev := r.param("rrev"), r.param("prev")
	if r.isV1() {
		if !ref.ValidV1() {
			return conan.Revision{}, fmt.Errorf("%w: %s is not a reference of Conan 1", conan.ErrInvalid, ref)
		}
		rrev, prev = fromZero(rrev), fromZero(prev)
	}
	return conan.NewRevision(ref, rrev, r.param("package_id"), prev)
}

func (r *request) isV1() bool { return strings.HasPrefix(r.path, "/v1/") }

func fromZero(id string) string {
	if id == conan.MutableRevision {
		return ""
	}
	return id
}

// fileName is the file that the path names, checked.
func (r *request) fileName() (string, error) {
	name := r.param("file")
	if name == "" {
		name = r.param("*")
	}
	if err := conan.CheckFileName(name, r.param("package_id") != ""); err != nil {
		return "", badPath(r.req, err)
	}
	return name, nil
}
