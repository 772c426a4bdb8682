// Package proxy answers the v1 and v2 API of Conan over HTTP: routes, rendering, the memory of
// rendered answers, access log and metrics. The answers come from proxy/resolver; proxy/auth
// decides about rights.
package proxy

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"conanproxy/internal/memory"
	"conanproxy/proxy/api"
)

// Options are what a Server is made of. Only Settings must be set.
type Options struct {
	Settings *Settings // by which requests are answered until SetSettings replaces them

	Memory  int64           // bytes for answers that are kept rendered; 0 keeps none
	Changes *memory.Changes // tells which of them are no longer true; nil: none ever

	API  *api.API // the operators' API; nil: there is none
	Uses Uses     // told what clients use; nil: nothing is

	Log       *zap.Logger // nil logs nothing
	AccessLog *zap.Logger // one line per request; nil logs nothing
	// where the metrics are registered and /metrics reads; nil makes one
	Registry *prometheus.Registry
	Ready    func(context.Context) error // for /readyz; nil is always ready
	Version  string                      // for /version
	Now      func() time.Time            // nil is time.Now
}

// Server answers the v1 and v2 API of Conan. It is the whole HTTP surface.
type Server struct {
	settings  atomic.Pointer[Settings]
	documents *documents
	sums      *sumFetches
	metrics   *metrics
	uses      Uses
	ids       *requestIDs
	log       *zap.Logger
	access    *zap.Logger
	ready     func(context.Context) error
	version   string
	now       func() time.Time
	page      *startPage
	api       *api.API
	routes    *echo.Echo
}

// New makes a Server. Missing Settings and metrics that are registered already are errors.
func New(o Options) (*Server, error) {
	if o.Settings == nil {
		return nil, errors.New("proxy: Options.Settings is missing")
	}
	fillDefaults(&o)
	s := &Server{
		ids:     newRequestIDs(),
		uses:    o.Uses,
		log:     o.Log,
		access:  o.AccessLog,
		ready:   o.Ready,
		version: o.Version,
		now:     o.Now,
		api:     o.API,
	}
	s.settings.Store(o.Settings)
	var err error
	if s.page, err = newStartPage(); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(o.Registry); err != nil {
		return nil, err
	}
	if s.documents, err = newDocuments(o.Memory, o.Changes, o.Now); err != nil {
		return nil, err
	}
	s.sums = newSumFetches()
	s.routes = s.newRoutes(o.Registry, o.API)
	return s, nil
}

func fillDefaults(o *Options) {
	if o.Changes == nil {
		o.Changes = new(memory.Changes)
	}
	if o.Uses == nil {
		o.Uses = noUses{}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.AccessLog == nil {
		o.AccessLog = zap.NewNop()
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// SetSettings replaces the settings for requests that begin from now on. What is kept of answers
// that were begun under other settings is not used for them.
func (s *Server) SetSettings(settings *Settings) { s.settings.Store(settings) }

// ServeHTTP implements http.Handler: it finds the view that the path selects and routes the rest of
// the path. Whatever becomes of the request is counted and logged.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r := s.begin(w, req)
	defer s.finish(r)
	defer s.recoverPanic(r)
	if err := r.mount(); err != nil {
		s.fail(r, err)
		return
	}
	s.routes.ServeHTTP(r, r.req)
}

// Close ends the work that outlives requests and frees the memory of kept answers. The Server must
// not be asked any more.
func (s *Server) Close() {
	s.sums.close()
	s.documents.close()
}
