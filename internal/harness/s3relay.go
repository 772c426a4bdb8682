package harness

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// S3Relay stands between a client and an S3 server. It counts requests and can break them.
type S3Relay struct {
	listener net.Listener
	server   *http.Server

	mu      sync.Mutex
	counts  map[string]int
	fault   func(http.ResponseWriter, *http.Request) bool
	changed func(*http.Request, io.Reader) io.Reader
}

// NewS3Relay starts one in front of the server at the URL target. Close ends it.
func NewS3Relay(target string) (*S3Relay, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &S3Relay{listener: l, counts: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = to.Scheme, to.Host, p.In.Host
		},
		ModifyResponse: r.modify,
		Transport:      &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0), // bodies that break off are wanted
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	r.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if fault := r.count(req); fault == nil || !fault(w, req) {
			proxy.ServeHTTP(w, req)
		}
	})}
	go r.server.Serve(l)
	return r, nil
}

// URL is the address of the relay.
func (r *S3Relay) URL() string { return "http://" + r.listener.Addr().String() }

// Close ends the relay and its connections.
func (r *S3Relay) Close() error { return r.server.Close() }

func (r *S3Relay) count(req *http.Request) func(http.ResponseWriter, *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[req.Method]++
	return r.fault
}

// Requests is how many requests came, of one method or of all if that is empty.
func (r *S3Relay) Requests(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := 0
	for m, n := range r.counts {
		if method == "" || m == method {
			sum += n
		}
	}
	return sum
}

// Fault answers a request itself and returns true, or returns false; nil: none does.
func (r *S3Relay) Fault(fault func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// Refuse answers every request of a method, or of all if that is empty, with an error of S3.
func (r *S3Relay) Refuse(method string, status int, code string) {
	r.Fault(func(w http.ResponseWriter, req *http.Request) bool {
		if method != "" && req.Method != method {
			return false
		}
		S3Error(w, status, code)
		return true
	})
}

// S3Error answers as S3 servers do.
func S3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.WriteString(w, "<?xml version=\"1.0\"?><Error><Code>"+code+"</Code><Message>"+code+"</Message></Error>")
}

// Change passes the bodies of objects that the server sends through a function; nil: as they are.
func (r *S3Relay) Change(change func(*http.Request, io.Reader) io.Reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = change
}

func (r *S3Relay) modify(resp *http.Response) error {
	r.mu.Lock()
	change := r.changed
	r.mu.Unlock()
	if change == nil || resp.Request.Method != http.MethodGet || !strings.Contains(resp.Request.URL.Path, "/objects/") {
		return nil
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{change(resp.Request, resp.Body), resp.Body}
	return nil
}
