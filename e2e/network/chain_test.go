package network

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestChain: edge → parent → conan_server. What is new at the parent is visible at the edge within
// fresh_for, answers are the same at both ends, and the edge goes on when the parent is gone.
func TestChain(t *testing.T) {
	t.Parallel()
	const fresh = time.Second
	w := e2etest.NewWorld(t, e2etest.V2Server, harness.Settings{"up": harness.Settings{"fresh_for": fresh.String()}})
	between := e2etest.Record(t, w.Proxy.URL(), e2etest.BothAPIs)
	edge := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{
		harness.Upstream("parent", between.URL(), harness.Settings{"fresh_for": fresh.String(), "not_found_for": "1s"}),
	}})
	outside := e2etest.NewConan2(t, w.Upstream.URL()).As("demo", "demo")
	outside.Create(e2etest.Recipe(t, "links"), "demo/testing")
	outside.Upload("*")
	const ref = "lib/1.0@demo/testing"
	publisher := e2etest.NewConan2(t, w.Proxy.URL("local")).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload(ref)
	old := e2etest.NewConan1(t, w.Proxy.URL("local")).As("demo", "demo")
	old.Create(e2etest.Recipe(t, "lib"), "demo/testing", "-o", "lib:flavour=sweet")
	old.Upload(ref)

	reader := e2etest.NewConan2(t, edge.URL())
	reader.Install(ref, "--requires=links/1.0@demo/testing")
	e2etest.SameTree(t, "lib", publisher, reader)
	e2etest.SameTree(t, "links", outside, reader)
	one := e2etest.NewConan1(t, edge.URL())
	one.Install(ref, "-o", "lib:flavour=sweet")
	e2etest.SameTree(t, "lib", old, one)

	rrev := e2etest.Revisions(t, w.Proxy, "lib/1.0/demo/testing")[0]
	for _, path := range []string{
		"v2/conans/lib/1.0/demo/testing/latest",
		"v2/conans/lib/1.0/demo/testing/revisions",
		"v2/conans/lib/1.0/demo/testing/revisions/" + rrev + "/search",
		"v2/conans/lib/1.0/demo/testing/revisions/" + rrev + "/search?list_only=True",
		"v2/conans/links/1.0/demo/testing/latest",
		"v2/conans/search?q=*",
		"v1/conans/search?q=*",
		"v1/conans/lib/1.0/demo/testing/search",
		"v1/conans/lib/1.0/demo/testing",
	} {
		status, _, want := e2etest.Get(t, w.Proxy.URL(path))
		if status != http.StatusOK {
			t.Errorf("parent: %s: %d %s", path, status, want)
		}
		_, _, got := e2etest.Get(t, edge.URL(path))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-parent +edge):\n%s", path, diff)
		}
	}

	publisher.Create(e2etest.Recipe(t, "lib", "return 1", "return 2"), "demo/testing")
	publisher.Upload(ref)
	published := time.Now()
	newest := e2etest.Revisions(t, w.Proxy, "lib/1.0/demo/testing")
	e2etest.WaitFor(t, 10*time.Second, func() bool { return cmp.Equal(newest, e2etest.Revisions(t, edge, "lib/1.0/demo/testing")) })
	if took := time.Since(published); took > fresh+2*time.Second {
		t.Errorf("the new revision was visible at the edge after %v, want within %v", took, fresh)
	}
	updated := e2etest.NewConan2(t, edge.URL())
	updated.Install(ref)
	if got := updated.CacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 2") {
		t.Errorf("the edge serves %q", got)
	}

	between.Stop()
	time.Sleep(fresh + 200*time.Millisecond)
	alone := e2etest.NewConan2(t, edge.URL())
	alone.Install(ref, "--requires=links/1.0@demo/testing")
	status, header, _ := e2etest.Get(t, edge.URL("v2/conans/lib/1.0/demo/testing/latest"))
	if status != http.StatusOK || header.Get("X-Cache") != "stale" || header.Get("Warning") == "" {
		t.Errorf("a stale answer: %d X-Cache %q Warning %q", status, header.Get("X-Cache"), header.Get("Warning"))
	}
}
