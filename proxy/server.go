package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// Options are what a Server is made of. Only Guard must be set.
type Options struct {
	Views     []View          // the mounts; they can be replaced by SetViews
	Publisher conan.Publisher // takes uploads and deletes, and has Forget called; nil: no view is writable
	Guard     *Guard          // who may what

	PublicURL      string         // scheme, host and perhaps a path, for absolute URLs; empty: URLs begin at the root of the host
	BasePath       string         // external path prefix, "/conan"; requests are answered with and without it
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* headers are believed

	Memory int64 // bytes for answers that are kept rendered; 0 keeps none

	Log       *zap.Logger                 // nil logs nothing
	AccessLog *zap.Logger                 // one line per request; nil logs nothing
	Registry  *prometheus.Registry        // where the metrics are registered and /metrics reads; nil makes one
	Ready     func(context.Context) error // for /readyz; nil is always ready
	Version   string                      // for /version
	Now       func() time.Time            // nil is time.Now
}

// Server answers the v1 and v2 API of Conan over the views it was given.
type Server struct {
	guard     *Guard
	publisher conan.Publisher
	urls      urlBuilder
	trusted   trustedProxies
	views     atomic.Pointer[map[string]View]
	documents *documents
	digests   *digestFlights
	metrics   *metrics
	log       *zap.Logger
	access    *zap.Logger
	ready     func(context.Context) error
	version   string
	now       func() time.Time
	page      *landingPage
	echo      *echo.Echo
}

// New makes a Server. Errors are wrong options: a missing Guard, a PublicURL that is not an
// absolute http or https URL, a BasePath that is not a clean path, two views of one name.
func New(o Options) (*Server, error) {
	if o.Guard == nil {
		return nil, errors.New("proxy: Options.Guard is missing")
	}
	urls, err := newURLBuilder(o.PublicURL, o.BasePath)
	if err != nil {
		return nil, err
	}
	s := &Server{
		guard:     o.Guard,
		publisher: o.Publisher,
		urls:      urls,
		trusted:   o.TrustedProxies,
		log:       o.Log,
		access:    o.AccessLog,
		ready:     o.Ready,
		version:   o.Version,
		now:       o.Now,
	}
	s.fillDefaults()
	if s.page, err = newLandingPage(); err != nil {
		return nil, err
	}
	registry := o.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	if s.metrics, err = newMetrics(registry); err != nil {
		return nil, err
	}
	if s.documents, err = newDocuments(o.Memory, s.now); err != nil {
		return nil, err
	}
	s.digests = newDigestFlights()
	if err := s.SetViews(o.Views); err != nil {
		s.Close()
		return nil, err
	}
	s.echo = s.newEcho(registry)
	return s, nil
}

func (s *Server) fillDefaults() {
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.access == nil {
		s.access = zap.NewNop()
	}
	if s.ready == nil {
		s.ready = func(context.Context) error { return nil }
	}
	if s.now == nil {
		s.now = time.Now
	}
}

// Handler is the whole HTTP surface.
func (s *Server) Handler() http.Handler { return front{s} }

// Close ends the work that outlives requests and frees the memory of kept answers.
// The Handler must no longer be called.
func (s *Server) Close() {
	s.digests.close()
	s.documents.close()
}

// Forget drops the kept answers that depend on a reference. Whoever publishes or removes revisions of it must call
// this afterwards, for uploads and deletes that came through this Server too.
func (s *Server) Forget(ref conan.Ref) { s.documents.forget(ref) }
