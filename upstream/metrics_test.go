package upstream

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"conanproxy/internal/conan"
)

// value reads a counter or a gauge.
func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

func TestMetricsPrimedAndCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	r, _ := newFake(t, Options{Name: "one", Metrics: metrics}, routes(map[string]string{"/v2/conans/search": `{"results": []}`}))
	newFake(t, Options{Name: "two", Metrics: metrics}, http.NotFound)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, family := range families {
		got[family.GetName()] = len(family.GetMetric())
	}
	want := map[string]int{
		"conanproxy_upstream_answers_total":                 2 * len(kinds),
		"conanproxy_upstream_last_answer_timestamp_seconds": 2,
		"conanproxy_upstream_received_bytes_total":          2,
		"conanproxy_upstream_latency_seconds":               2,
		"conanproxy_upstream_breaker_state":                 2,
		"conanproxy_upstream_resumes_total":                 2,
		"conanproxy_upstream_dropped_names_total":           2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r.Search(t.Context(), conan.Pattern{})
	r.Latest(t.Context(), conan.Revision{Ref: mustRef(t, "zlib/1.3")})
	for k, want := range map[kind]float64{kindOK: 1, kindNotFound: 1, kindServerError: 0} {
		if got := value(t, metrics.answers.WithLabelValues("one", string(k))); got != want {
			t.Errorf("%v answers of kind %s, want %v", got, k, want)
		}
	}
}
