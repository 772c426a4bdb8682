package proxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"conanproxy/internal/conan"
	"conanproxy/proxy/api"
	"conanproxy/proxy/resolver"
)

// apiRoutes registers the operators' API.
func (s *Server) apiRoutes(e *echo.Echo, a *api.API) {
	if a == nil {
		return
	}
	for _, route := range a.Routes() {
		e.Add(route.Method, route.Path, with(s.operate(a, route)))
	}
}

// operate makes a handler of a call: it finds the caller, and answers JSON. A request that a
// browser makes for a page of another site is refused.
func (s *Server) operate(a *api.API, route api.Route) func(*request) error {
	return func(r *request) error {
		if err := notFromOtherSite(r.req); err != nil {
			return err
		}
		if err := r.identify(); err != nil {
			return err
		}
		if route.MaxBody > 0 { // no large body of a caller who may change nothing anywhere
			if err := r.settings.guard.AnyWriter(r.caller); err != nil {
				return err
			}
		}
		if route.MaxBody == api.StreamBody {
			r.streamed = true
			// An answer may come before the end of the body.
			_ = http.NewResponseController(r.ResponseWriter).EnableFullDuplex()
		}
		result, err := a.Serve(s.apiCall(r, route), route)
		if err != nil {
			return err
		}
		if stream, ok := result.(api.Stream); ok {
			return r.stream(stream)
		}
		if events, ok := result.(api.Events); ok {
			return r.sendEvents(events)
		}
		d, err := jsonDocument(result)
		if err != nil {
			return err
		}
		if _, ok := result.(api.Accepted); ok {
			d.status = http.StatusAccepted
		}
		d.header = append(d.header, field("Cache-Control", "no-store"))
		return r.write(d)
	}
}

// stream answers with what is made while it is sent. After an error the body has no end, so that no
// client takes it for whole.
func (r *request) stream(s api.Stream) error {
	r.Header().Set("Content-Type", s.ContentType)
	r.Header().Set("Cache-Control", "no-store")
	const buffer = 256 << 10
	out := bufio.NewWriterSize(r, buffer)
	if err := s.Write(out); err != nil {
		return err
	}
	return out.Flush()
}

// apiCall is a request as the API sees it.
func (s *Server) apiCall(r *request, route api.Route) *api.Call {
	return &api.Call{
		Context: r.ctx(), Caller: r.caller, Actor: r.actor(), Guard: r.settings.guard, Query: r.req.URL.Query(),
		Decode: func(v any) error { return r.decodeJSON(v, route.MaxBody, (*json.Decoder).DisallowUnknownFields) },
		Body:   r.body(),
		Trace:  r.traceNamed, Refusal: r.refusal,
		Source: r.sourceNamed, Whole: r.wholeNamed, Readable: r.readableOf, IsMember: r.isMember, ReadsSomewhere: r.readsSomewhere,
		Renew: func() (*api.Call, error) {
			now, err := s.renewed(r)
			if err != nil {
				return nil, err
			}
			return s.apiCall(now, route), nil
		},
	}
}

// renewed is the request under the settings in force, if its caller still is the one who began it.
func (s *Server) renewed(r *request) (*request, error) {
	now := *r
	now.settings = s.settings.Load()
	if r.caller.Anonymous() {
		return &now, nil
	}
	var err error
	now.caller, err = now.settings.guard.Current(r.caller.Name, r.caller.State())
	return &now, err
}

// viewNamed finds a view by its name; an empty one is the view at the root.
func (r *request) viewNamed(name string) *View {
	if name == "" {
		return r.settings.byPath[""]
	}
	return r.settings.byName[name]
}

// sourceNamed is what the caller may read of a view.
func (r *request) sourceNamed(name string) (conan.Source, bool) {
	v := r.viewNamed(name)
	if v == nil {
		return nil, false
	}
	return v.Resolver.For(conan.AnyGeneration, r.rights()), true
}

// wholeNamed is sourceNamed with what is hidden.
func (r *request) wholeNamed(name string) (conan.Source, bool) {
	v := r.viewNamed(name)
	if v == nil {
		return nil, false
	}
	return v.Whole.For(conan.AnyGeneration, r.rights()), true
}

// traceNamed is sourceNamed that tells which member said what.
func (r *request) traceNamed(name string, client conan.Generation) (*resolver.Trace, []string, error) {
	v := r.viewNamed(name)
	switch {
	case v == nil && name == "":
		return nil, nil, fmt.Errorf("%w: there is no view at the root: name a view", conan.ErrInvalid)
	case v == nil:
		return nil, nil, fmt.Errorf("%w: there is no store, upstream or view %.64q", conan.ErrInvalid, name)
	}
	return v.Resolver.Trace(client, r.rights()), v.Members, nil
}

// refusal is how an error is answered.
func (r *request) refusal(err error) (status int, text string) {
	refused := r.classify(err)
	return refused.status, refused.text
}

// readableOf is what the caller may read of a Source that is a part of a member.
func (r *request) readableOf(member string, source conan.Source) (conan.Source, error) {
	whole, err := resolver.New(resolver.Options{Members: []resolver.Member{{Name: member, Source: source}}})
	if err != nil {
		return nil, err
	}
	return whole.For(conan.AnyGeneration, r.rights()), nil
}

// isMember tells whether a store or upstream has that name: each has a view of its own.
func (r *request) isMember(name string) bool {
	v, ok := r.settings.byName[name]
	return ok && slices.Equal(v.Members, []string{name})
}

// readsSomewhere tells whether the caller may read a reference in some store or upstream.
func (r *request) readsSomewhere(ref conan.Ref) bool {
	for name := range r.settings.byName {
		if r.isMember(name) && r.settings.guard.MayRead(r.caller, name, ref) {
			return true
		}
	}
	return false
}

// isAPICall tells a request for the operators' API, whose errors are JSON.
func isAPICall(path string) bool { return strings.HasPrefix(path, api.Prefix) }
