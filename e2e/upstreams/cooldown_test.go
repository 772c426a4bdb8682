package upstreams

import (
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestCoolDown: of a version range whose newest version is too young, clients of both generations
// get the newest version that is old enough, and of that the revision that is.
func TestCoolDown(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]struct {
		client func(testing.TB, string) *e2etest.Client
		form   []conantest.Option // of its packages
	}{
		"Conan 1.66":                {e2etest.NewConan1, []conantest.Option{conantest.HeaderOnly(), conantest.Conan1()}},
		"Conan 1.66 with revisions": {e2etest.NewConan1Revisions, []conantest.Option{conantest.HeaderOnly(), conantest.Conan1()}},
		"Conan 2":                   {e2etest.NewConan2, []conantest.Option{conantest.HeaderOnly()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := conantest.NewServer(t, conantest.Both, manyAges(g.form)...)
			proxy := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{
				harness.Upstream("up", origin.URL, harness.Settings{"min_age": "168h"}),
			}})
			c := g.client(t, proxy.URL())
			c.Install("lib/[>=1.0]@demo/testing")
			if tree := c.CacheTree("lib"); tree["include/version.h"] != "1.9 old" {
				t.Errorf("installed %v", tree)
			}
		})
	}
}

// manyAges are versions and revisions of a library: 1.10 is too young, and so is the newest
// revision of 1.9.
func manyAges(form []conantest.Option) []conantest.Set {
	now := time.Now()
	var sets []conantest.Set
	add := func(version, content string, age time.Duration) {
		sets = append(sets, published(form, version, content, now.Add(-age))...)
	}
	add("1.8", "1.8 old", 2000*time.Hour)
	add("1.9", "1.9 old", 1000*time.Hour)
	add("1.9", "1.9 young", 2*time.Hour)
	add("1.10", "1.10 young", time.Hour)
	return sets
}
