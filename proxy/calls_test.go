package proxy

import (
	"net/http"
	"testing"

	"conanproxy/proxy/api"
)

// Every call of the operators' API is counted with its outcome and its time, has an access line
// with the caller, and has a bound for its body, but for the one that streams it.
func TestEveryCallIsCountedAndLogged(t *testing.T) {
	j := newJobsWorld(t)
	for _, route := range new(api.API).Routes() {
		j.access.TakeAll()
		j.do(call{method: route.Method, path: route.Path + "?limit=none", user: "demo", body: "no JSON"})
		lines := j.access.TakeAll()
		if len(lines) != 1 || lines[0].ContextMap()["user"] != "demo" || lines[0].ContextMap()["route"] != route.Path {
			t.Errorf("%s %s: access lines %v", route.Method, route.Path, lines)
		}
		streams := route.Path == "/api/v1/bundle/apply"
		bounded := route.MaxBody > 0 && route.MaxBody <= 64<<20
		if route.Method == http.MethodPost && (streams && route.MaxBody != api.StreamBody || !streams && !bounded) {
			t.Errorf("%s: a body of %d bytes", route.Path, route.MaxBody)
		}
	}
	families, err := j.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]int)
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
	}
	want := len(new(api.API).Routes())
	for _, name := range []string{"conanproxy_http_requests_total", "conanproxy_http_request_duration_seconds"} {
		if series[name] != want {
			t.Errorf("%s has %d series, want %d, one for each call", name, series[name], want)
		}
	}
}
