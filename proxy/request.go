package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
)

// request is one HTTP request with what was found out about it on the way to its handler.
// It must not outlive the handler: the echo context inside is used again.
type request struct {
	echo.Context
	started    time.Time
	addr       netip.Addr // of the client, through trusted proxies
	external   string     // URL prefix before the mount
	mount      mount
	view       View
	generation conan.Generation
	trace      conan.Trace
	ref        conan.Ref // that the path names, once parsed; zero: none
	merged     bool      // the answer is made of every member's, not of the last one asked
	caller     Caller    // after identify
	identified bool
	from       provenance // of what was answered
	aborted    bool       // the body was ended short on purpose
	stalled    bool       // the client sent nothing of its body for too long
}

// requestKey is where echo's context keeps the request.
const requestKey = "conanproxy.request"

// with makes an echo handler of a handler.
func with(h func(*request) error) echo.HandlerFunc {
	return func(c echo.Context) error { return h(c.Get(requestKey).(*request)) }
}

// observed is the outermost middleware: it makes the request, answers errors and panics,
// and writes the access log and the metrics.
func (s *Server) observed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := &request{Context: c, started: s.now(), addr: s.clientAddr(c.Request())}
		c.Set(requestKey, r)
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		r.writer().moveDeadline()
		s.metrics.inFlight.Inc()
		defer s.finish(r)
		defer s.recoverPanic(r)
		if err := next(c); err != nil {
			s.fail(r, err)
		}
		return nil
	}
}

// finish is the last word on a request, whatever became of it.
func (s *Server) finish(r *request) {
	s.metrics.inFlight.Dec()
	took := s.now().Sub(r.started)
	s.metrics.count(r, took)
	s.logAccess(r, took)
}

// mounted finds the view that the path selects and leaves echo the rest of the path, unescaped
// once. Paths that are not clean end here, without a redirect.
func (s *Server) mounted(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Get(requestKey).(*request)
		req := r.Request()
		segments, trailing, err := splitPath(req.URL.EscapedPath())
		if err != nil {
			return badPath(req, err)
		}
		forwarded := s.forwardedPrefix(req)
		r.external = s.urls.external(forwarded)
		mounted, rest := splitMount(s.urls.cutBase(segments, forwarded))
		r.mount = mounted
		r.generation = generationOf(req, rest)
		if err := s.selectView(r, rest, trailing); err != nil {
			return err
		}
		req.URL = &url.URL{Path: "/" + strings.Join(rest, "/"), RawQuery: req.URL.RawQuery} // echo routes by this one
		r.SetRequest(req.WithContext(conan.WithTrace(req.Context(), &r.trace)))
		return next(c)
	}
}

// selectView looks up the view for the API and for the page of a mount; the other pages are at the root only.
// A ping at a place that is no remote is not "not found": clients skip a remote whose ping is, and
// then look elsewhere or build from source without a word.
func (s *Server) selectView(r *request, rest []string, trailing bool) error {
	isAPI := len(rest) > 0 && isVersion(rest[0])
	absent := http.StatusNotFound
	if n := len(rest); n >= 2 && isVersion(rest[n-2]) && rest[n-1] == "ping" {
		absent = http.StatusBadRequest
	}
	if isAPI || len(rest) == 0 && r.mount.prefix != "" {
		view, ok := s.view(r.mount.view)
		if !ok {
			return refuse(absent, "this server has no view named %q; the page at its root lists its Conan remotes", clip(r.mount.view))
		}
		r.view = view
	}
	switch {
	case len(rest) > 0 && trailing:
		return echo.ErrNotFound
	case len(rest) > 0 && !isAPI && (r.mount.prefix != "" || absent != http.StatusNotFound):
		return refuse(absent, "%s", routingText(http.StatusNotFound))
	}
	return nil
}

func isVersion(segment string) bool { return segment == "v1" || segment == "v2" }

// generationOf tells the client's generation: v1 routes are Conan 1, on others the User-Agent tells.
func generationOf(req *http.Request, rest []string) conan.Generation {
	agent := req.Header.Get("User-Agent")
	switch {
	case len(rest) > 0 && rest[0] == "v1", strings.HasPrefix(agent, "Conan/1."):
		return conan.Conan1
	case strings.HasPrefix(agent, "Conan/2."):
		return conan.Conan2
	}
	return conan.AnyGeneration
}

// badPath turns a path that cannot be one of ours into "not found" for readers, so that they
// look at their next remote, and into "invalid" for writers.
func badPath(req *http.Request, err error) error {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return refuse(http.StatusNotFound, "not found: %s", sentence(err))
	}
	return refuse(http.StatusBadRequest, "%s", sentence(err))
}

// peer is the IP address of an "address:port" as net/http tells it of the other end of a connection; invalid if it is none.
func peer(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// clientAddr is the peer, or behind trusted proxies the last address of X-Forwarded-For that is not one of them.
func (s *Server) clientAddr(req *http.Request) netip.Addr {
	addr := peer(req.RemoteAddr)
	if !s.trusted.contains(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hops[i]), "[]"))
		if err != nil {
			return addr
		}
		if addr = hop.Unmap(); !s.trusted.contains(addr) {
			return addr
		}
	}
	return addr
}

// forwardedPrefix is the path prefix that a trusted proxy says it has in front of us.
func (s *Server) forwardedPrefix(req *http.Request) []string {
	header := req.Header.Get("X-Forwarded-Prefix")
	if header == "" || len(header) > 256 || !s.trusted.contains(peer(req.RemoteAddr)) {
		return nil
	}
	segments, _, err := splitPath(header)
	if err != nil {
		return nil
	}
	return segments
}

// identify finds out who calls. Wrong credentials are errLogin, also where nobody needs any.
func (s *Server) identify(r *request) error {
	if r.identified {
		return nil
	}
	caller, err := s.guard.Identify(r.ctx(), r.Request().Header.Get(echo.HeaderAuthorization), r.addr)
	if err != nil {
		return err
	}
	r.caller, r.identified = caller, true
	return nil
}

// revision is the node of the tree that the path names. v1 paths must be valid for Conan 1;
// their revision "0" is the newest.
func (r *request) revision() (conan.Revision, error) {
	rev, err := r.parseRevision()
	if err != nil {
		return conan.Revision{}, badPath(r.Request(), err)
	}
	return rev, nil
}

func (r *request) parseRevision() (conan.Revision, error) {
	ref, err := conan.NewRef(r.Param("name"), r.Param("version"), r.Param("user"), r.Param("channel"))
	if err != nil {
		return conan.Revision{}, err
	}
	r.ref = ref
	rrev, prev := r.Param("rrev"), r.Param("prev")
	if r.isV1() {
		if !ref.ValidV1() {
			return conan.Revision{}, fmt.Errorf("%w: %s is not a reference of Conan 1", conan.ErrInvalid, ref)
		}
		rrev, prev = fromZero(rrev), fromZero(prev)
	}
	return conan.NewRevision(ref, rrev, r.Param("package_id"), prev)
}

func (r *request) isV1() bool { return strings.HasPrefix(r.Request().URL.Path, "/v1/") }

func fromZero(id string) string {
	if id == conan.MutableRevision {
		return ""
	}
	return id
}

// fileName is the file that the path names, checked.
func (r *request) fileName() (string, error) {
	name := r.Param("file")
	if name == "" {
		name = r.Param("*")
	}
	if err := conan.CheckFileName(name, r.Param("package_id") != ""); err != nil {
		return "", badPath(r.Request(), err)
	}
	return name, nil
}

// readable is the node that the path names, if the caller may read its reference.
func (s *Server) readable(r *request) (conan.Revision, error) {
	if err := s.identify(r); err != nil {
		return conan.Revision{}, err
	}
	rev, err := r.revision()
	if err != nil {
		return rev, err
	}
	return rev, s.guard.MayRead(r.caller, rev.Ref)
}

// writable is the node that the path names, if the view takes writes and the caller may write its
// reference. readOnly is the status for a view that does not. Rights are checked before anything is looked up.
func (s *Server) writable(r *request, readOnly int) (conan.Revision, error) {
	if err := s.identify(r); err != nil {
		return conan.Revision{}, err
	}
	if err := r.takesWrites(readOnly); err != nil {
		return conan.Revision{}, err
	}
	rev, err := r.revision()
	if err != nil {
		return rev, err
	}
	return rev, s.guard.MayWrite(r.caller, rev.Ref)
}

func (r *request) takesWrites(readOnly int) error {
	if r.view.Writable {
		return nil
	}
	return refuse(readOnly, "the view %q takes no uploads and no deletes: use /%s", r.view.Name, ViewLocal)
}

// reader answers the reading questions for the request's view and generation.
func (r *request) reader() Reader { return r.view.Resolver.For(r.generation) }

// maxJSONBody bounds the JSON bodies of the v1 API.
const maxJSONBody = 1 << 20

// readJSON decodes the body into v; a body that is too long, not JSON, or followed by more is ErrInvalid.
func (r *request) readJSON(v any) error {
	body := http.MaxBytesReader(nil, r.body(), maxJSONBody)
	decoder := json.NewDecoder(body)
	err := decoder.Decode(v)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("something follows the JSON value")
	}
	return fmt.Errorf("%w: the body is not the JSON that this call takes, of at most 1 MiB: %s", conan.ErrInvalid, sentence(err))
}

// clip bounds untrusted text that is quoted in an answer.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
