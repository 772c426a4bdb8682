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

// apiPrefix is the path of the operators' API, at the root only.
const apiPrefix = "/api/v1/"

// apiRoutes registers the operators' API.
func (s *Server) apiRoutes(e *echo.Echo, a *api.API) {
	if a == nil {
		return
	}
	for _, route := range a.Routes() {
		e.Add(route.Method, route.Path, with(operate(route)))
	}
}

// operate makes a handler of a call: it finds the caller, and answers JSON. A request that a
// browser makes for a page of another site is refused.
func operate(route api.Route) func(*request) error {
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
		result, err := route.Handle(&api.Call{
			Context: r.ctx(), Caller: r.caller, Actor: r.actor(), Guard: r.settings.guard, Query: r.req.URL.Query(),
			Decode: func(v any) error { return r.decodeJSON(v, route.MaxBody, (*json.Decoder).DisallowUnknownFields) },
			Body:   r.body(),
			Source: r.sourceNamed, Whole: r.wholeNamed, Readable: r.readableOf, IsMember: r.isMember,
			Trace: r.traceNamed, Refusal: r.refusal,
		})
		if err != nil {
			return err
		}
		if stream, ok := result.(api.Stream); ok {
			return r.stream(stream)
		}
		d, err := jsonDocument(result)
		if err != nil {
			return err
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

// isAPICall tells a request for the operators' API, whose errors are JSON.
func isAPICall(path string) bool { return strings.HasPrefix(path, apiPrefix) }
