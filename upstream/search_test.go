package upstream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/conan"
)

func TestSearch(t *testing.T) {
	tests := map[string]struct {
		protocol string
		pattern  conan.Pattern
		answer   string
		want     []string
		wantErr  string
		wantAsk  string
		dropped  float64
	}{
		"everything":      {"v2", conan.Pattern{}, `{"results": ["zlib/1.3", "bzip2/1.0@_/_", "app/1.0@acme/stable#abc", "zlib/1.3@_/_"]}`, []string{"app/1.0@acme/stable", "bzip2/1.0", "zlib/1.3"}, "ok", "GET /v2/conans/search?q=%2A", 0},
		"pattern":         {"v1", mustPattern(t, "png++/*", true), `{"results": ["png++/0.2"]}`, []string{"png++/0.2"}, "ok", "GET /v1/conans/search?q=png%2B%2B%2F%2A", 0},
		"case":            {"v2", mustPattern(t, "Zlib/*", false), `{"results": []}`, []string{}, "ok", "GET /v2/conans/search?ignorecase=False&q=Zlib%2F%2A", 0},
		"superset":        {"v2", mustPattern(t, "zlib", true), `{"results": ["zlib/1.3", "zlib-ng/2.0"]}`, []string{"zlib/1.3"}, "ok", "", 0},
		"revision":        {"v2", mustPattern(t, "*#abc", true), `{"results": ["zlib/1.3"]}`, []string{"zlib/1.3"}, "ok", "", 0},
		"invalid results": {"v2", conan.Pattern{}, `{"results": ["zlib/1.3", "nonsense", 7, null, "a/../b", "x y/1.0", ""]}`, []string{"zlib/1.3"}, "ok", "", 6},
		"404":             {"v2", conan.Pattern{}, ``, []string{}, "ok", "", 0},
		"no results":      {"v2", conan.Pattern{}, `{}`, nil, "unavailable: answered a search without results", "", 0},
		"null results":    {"v2", conan.Pattern{}, `{"results": null}`, nil, "unavailable: answered a search without results", "", 0},
		"top-level list":  {"v2", conan.Pattern{}, `["zlib/1.3"]`, nil, "unavailable: answered with something that is not a JSON object", "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answers := map[string]string{"/" + test.protocol + "/conans/search": test.answer}
			if test.answer == "" {
				answers = nil
			}
			metrics := NewMetrics(prometheus.NewRegistry())
			r, f := newFake(t, Options{Protocol: test.protocol, Metrics: metrics}, routes(answers))
			refs, err := r.Search(t.Context(), test.pattern)
			if word(err) != test.wantErr {
				t.Errorf("error %q, want %q", word(err), test.wantErr)
			}
			var got []string
			if refs != nil {
				got = []string{}
			}
			for _, ref := range refs {
				got = append(got, ref.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if test.wantAsk != "" && f.asked()[0] != test.wantAsk {
				t.Errorf("asked %q, want %q", f.asked()[0], test.wantAsk)
			}
			if got := value(t, metrics.dropped.WithLabelValues("test")); got != test.dropped {
				t.Errorf("%v references dropped, want %v", got, test.dropped)
			}
		})
	}
}
