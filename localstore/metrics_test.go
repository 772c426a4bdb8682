package localstore

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
)

func counters(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	wantError(t, err, nil)
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] += m.GetCounter().GetValue()
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	e := newEnv(t, func(o *Options) { o.Metrics = NewMetrics(reg) })
	want := map[string]float64{"conanproxy_store_published_total": 0, "conanproxy_store_overwritten_total": 0, "conanproxy_store_adopted_total": 0, "conanproxy_store_removed_total": 0, "conanproxy_store_retention_removed_total": 0}
	wantEqual(t, "at the start", counters(t, reg), want)
	recipe := e.publishRecipe(hi, plainRecipe("A"))
	e.publishRecipe(hi, plainRecipe("A")) // changes nothing
	contents := files{"a": "a"}
	e.publishPackage(recipe, pid2, packedAs(contents, regular("a", 0o644)))
	e.publishPackage(recipe, pid2, packedAs(contents, regular("a", 0o755)))
	wantError(t, e.Remove(t.Context(), conan.Removal{Revision: recipe}), nil)
	want["conanproxy_store_published_total"], want["conanproxy_store_overwritten_total"], want["conanproxy_store_removed_total"] = 3, 1, 1
	wantEqual(t, "at the end", counters(t, reg), want)
}

// TestRefusalsAreLogged: an administrator sees which upload was refused, whose it was and why.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	e := newEnv(t, func(o *Options) { o.Log = zap.New(core) })
	rev := conan.Revision{Ref: hi, RRev: plainRecipe("A").rev()}
	wantError(t, e.put(rev, conan.ManifestFile, plainRecipe("A")[conan.ManifestFile]), conan.ErrIncomplete)
	wantError(t, e.link(rev, "", conan.RecipeFile, "A", anyRef), conan.ErrNotFound)
	entries := logs.All()
	if len(entries) != 1 {
		t.Fatalf("the log has %v, want one line", entries)
	}
	fields := entries[0].ContextMap()
	wantEqual(t, "fields", []any{fields["reference"], fields["file"], fields["user"]}, []any{rev.String(), conan.ManifestFile, "ann"})
}
