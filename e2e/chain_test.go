package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestChain: edge → parent → conan_server. What is new at the parent is visible at the edge within fresh_for, answers
// are the same at both ends, and the edge goes on when the parent is gone.
func TestChain(t *testing.T) {
	t.Parallel()
	const fresh = time.Second
	w := newWorld(t, v2Server, settings{"up": settings{"fresh_for": fresh.String()}})
	between := record(t, w.proxy.url(), bothAPIs)
	edge := startConanproxy(t, settings{"upstreams": []settings{
		upstream("parent", between.url(), settings{"fresh_for": fresh.String(), "not_found_for": "1s"}),
	}})
	outside := newConan2(t, w.upstream.url()).as("demo", "demo")
	outside.create(recipe(t, "links"), "demo/testing")
	outside.upload("*")
	const ref = "lib/1.0@demo/testing"
	publisher := newConan2(t, w.proxy.url("local")).as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload(ref)
	old := newConan1(t, w.proxy.url("local")).as("demo", "demo")
	old.create(recipe(t, "lib"), "demo/testing", "-o", "lib:flavour=sweet")
	old.upload(ref)

	reader := newConan2(t, edge.url())
	reader.install(ref, "--requires=links/1.0@demo/testing")
	sameTree(t, "lib", publisher, reader)
	sameTree(t, "links", outside, reader)
	one := newConan1(t, edge.url())
	one.install(ref, "-o", "lib:flavour=sweet")
	sameTree(t, "lib", old, one)

	rrev := revisions(t, w.proxy, "lib/1.0/demo/testing")[0]
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
		status, _, want := get(t, w.proxy.url(path))
		if status != http.StatusOK {
			t.Errorf("parent: %s: %d %s", path, status, want)
		}
		_, _, got := get(t, edge.url(path))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s differs (-parent +edge):\n%s", path, diff)
		}
	}

	publisher.create(recipe(t, "lib", "return 1", "return 2"), "demo/testing")
	publisher.upload(ref)
	published := time.Now()
	newest := revisions(t, w.proxy, "lib/1.0/demo/testing")
	waitFor(t, 10*time.Second, func() bool { return cmp.Equal(newest, revisions(t, edge, "lib/1.0/demo/testing")) })
	if took := time.Since(published); took > fresh+2*time.Second {
		t.Errorf("the new revision was visible at the edge after %v, want within %v", took, fresh)
	}
	updated := newConan2(t, edge.url())
	updated.install(ref)
	if got := updated.cacheTree("lib")["lib/lib.out"]; !strings.Contains(got, "return 2") {
		t.Errorf("the edge serves %q", got)
	}

	between.stop()
	time.Sleep(fresh + 200*time.Millisecond)
	alone := newConan2(t, edge.url())
	alone.install(ref, "--requires=links/1.0@demo/testing")
	status, header, _ := get(t, edge.url("v2/conans/lib/1.0/demo/testing/latest"))
	if status != http.StatusOK || header.Get("X-Cache") != "stale" || header.Get("Warning") == "" {
		t.Errorf("a stale answer: %d X-Cache %q Warning %q", status, header.Get("X-Cache"), header.Get("Warning"))
	}
}
