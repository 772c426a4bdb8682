package conantest

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// API is what a Server speaks.
type API int

// The APIs. A v1-only server announces no revisions; a v2-only one answers 404 on v1 routes but
// ping.
const (
	V1 API = 1 << iota
	V2
	Both = V1 | V2
)

// FileURLs is the form of the URLs in v1's digest and download_urls.
type FileURLs int

// The forms.
const (
	RootRelative FileURLs = iota // /prefix/v1/files/…
	Relative                     // v1/files/…, to be joined with the remote's URL and a slash
	Absolute                     // http://127.0.0.1:port/prefix/v1/files/…
	// http://localhost:other-port/…: another host, whose requests are logged too
	Foreign
)

// Validator is what file answers carry so that a later Range request can be conditional.
type Validator int

// The validators. NoRanges answers every request with the whole file.
const (
	LastModified Validator = iota // as conan_server does
	ETag
	NoValidator
	NoRanges
)

// Options shape a Server. The zero value is conan_server with open reading and signed file URLs.
type Options struct {
	API       API    // zero means Both
	Prefix    string // path in front of every route: "/artifactory/api/conan/center"
	FileURLs  FileURLs
	Unsigned  bool // file URLs carry no signature, so that they need the token
	Validator Validator

	// Capabilities of ping; empty means those of API. NoCapabilities leaves the header out.
	Capabilities   string
	NoCapabilities bool

	// Users (name to password) who may log in. With Private everything but ping needs a login;
	// otherwise reading is open, and only a bad token is refused.
	Users   map[string]string
	Private bool

	// UnderscoreRefs lists references without a user as name/version@_/_, as Artifactory does.
	UnderscoreRefs bool

	// Profile is how the answers look; the zero value is conan_server.
	Profile Profile
}

// Server is a Conan server that serves sets, keeps a log and breaks where it is told to. It is
// a real HTTP server on 127.0.0.1 and stops with its test. All methods may be called at any time.
type Server struct {
	// URL is the remote's URL, with the prefix, without a slash at the end.
	URL string

	t       testing.TB
	options Options
	address string
	foreign string // address of the foreign host; empty if there is none

	mu         sync.Mutex
	servers    []*http.Server
	stopped    chan struct{} // closed by Stop
	sets       map[conan.Revision]Set
	faults     []*activeFault
	log        []*Request
	tokens     map[string]bool   // token → not expired
	signatures map[string]string // signature → path
	serial     int               // of tokens and signatures
}

// NewServer starts a server that speaks api and has these sets; see NewServerWith.
func NewServer(t testing.TB, api API, sets ...Set) *Server {
	t.Helper()
	return NewServerWith(t, Options{API: api}, sets...)
}

// NewServerWith starts a server on a free port of 127.0.0.1. It ends with the test.
func NewServerWith(t testing.TB, o Options, sets ...Set) *Server {
	t.Helper()
	if o.API == 0 {
		o.API = Both
	}
	s := &Server{
		t: t, options: o,
		address:    "127.0.0.1:0",
		sets:       make(map[conan.Revision]Set),
		tokens:     make(map[string]bool),
		signatures: make(map[string]string),
	}
	if o.FileURLs == Foreign || o.Profile.RedirectFiles {
		s.foreign = "127.0.0.1:0"
	}
	s.Add(sets...)
	s.Start()
	s.URL = "http://" + s.address + o.Prefix
	t.Cleanup(s.Stop)
	return s
}

// Start listens again, on the same port, after Stop.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.servers) > 0 {
		return
	}
	s.stopped = make(chan struct{})
	s.address = s.listen(s.address)
	if s.foreign != "" {
		s.foreign = s.listen(s.foreign)
	}
}

// portWait is how long a port may be in use when it is listened on again: while the server was
// stopped, any connection of this machine may have got it as its own end.
const portWait = time.Minute

func (s *Server) listen(address string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", address)
	for end := time.Now().Add(portWait); err != nil && time.Now().Before(end); l, err = net.Listen("tcp", address) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		s.t.Fatalf("conantest: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: time.Minute}
	s.servers = append(s.servers, server)
	go server.Serve(l)
	return l.Addr().String()
}

// Stop closes the port and cuts every connection; requests under way end at once. Clients are
// refused until Start.
func (s *Server) Stop() {
	s.mu.Lock()
	servers := s.servers
	s.servers = nil
	if len(servers) > 0 {
		close(s.stopped)
	}
	s.mu.Unlock()
	for _, server := range servers {
		server.Close()
	}
}

// Add publishes sets; one with the ids of another takes its place.
func (s *Server) Add(sets ...Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range sets {
		s.sets[set.Revision] = set
	}
}

// Remove takes a revision away: a recipe revision with all its packages, all package
// revisions of a package id, or, with nothing but the reference, everything.
func (s *Server) Remove(rev conan.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for have := range s.sets {
		if have.Ref == rev.Ref && (rev.RRev == "" || have.RRev == rev.RRev) &&
			(rev.PackageID == "" || have.PackageID == rev.PackageID) && (rev.PRev == "" || have.PRev == rev.PRev) {
			delete(s.sets, have)
		}
	}
}

// ExpireTokens makes every token that was given out invalid; a new login helps.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token := range s.tokens {
		s.tokens[token] = false
	}
}

// ExpireSignatures makes every signed URL that was given out invalid.
func (s *Server) ExpireSignatures() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.signatures)
}

// Request is one line of the log.
type Request struct {
	Method string
	Host   string
	Path   string // escaped, with the prefix
	Query  string // raw
	Header http.Header
	Status int   // that was answered; 0 while under way or if none was sent
	Sent   int64 // bytes of the body that were sent
}

// String is METHOD /path?query.
func (r Request) String() string {
	if r.Query == "" {
		return r.Method + " " + r.Path
	}
	return r.Method + " " + r.Path + "?" + r.Query
}

// Log is what was asked so far, in the order of arrival.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := make([]Request, len(s.log))
	for i, line := range s.log {
		log[i] = *line
	}
	return log
}

// ResetLog drops the log of what was asked so far.
func (s *Server) ResetLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// Count tells how many requests of the log match a route; see Fault.Route.
func (s *Server) Count(route string) int {
	n := 0
	for _, r := range s.Log() {
		if matchRoute(route, r) {
			n++
		}
	}
	return n
}

// matchRoute matches a route, with the rules of Fault.Route.
func matchRoute(route string, r Request) bool {
	if method, rest, ok := strings.Cut(route, " "); ok {
		if method != r.Method {
			return false
		}
		route = rest
	}
	return matchStars(route, r.Path) || matchStars(route, r.Path+"?"+r.Query)
}

// matchStars matches text as a whole; * is any run of characters.
func matchStars(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	if last == 0 {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, parts[0])
	for i := 1; ok && i < last; i++ {
		_, text, ok = strings.Cut(text, parts[i])
	}
	return ok && strings.HasSuffix(text, parts[last])
}

// note adds a line to the log and returns a function that completes it.
func (s *Server) note(r *http.Request) (Request, func(status int, sent int64)) {
	line := &Request{Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header.Clone()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
	return *line, func(status int, sent int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		line.Status, line.Sent = status, sent
	}
}

// ended is closed when the client left or the server stopped.
func (s *Server) ended(r *http.Request) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		select {
		case <-stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
