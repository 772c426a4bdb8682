package network

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompanyNetwork: an upstream that only the network's HTTP proxy can reach, and one whose
// certificate only a private authority vouches for.
func TestCompanyNetwork(t *testing.T) {
	t.Parallel()
	server := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Conan1})
	publisher := e2etest.NewConan1(t, server.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "header"), "demo/testing")
	publisher.Upload("*")

	t.Run("through an HTTP proxy", func(t *testing.T) {
		network := e2etest.Record(t, server.URL(), e2etest.BothAPIs)
		up := harness.Upstream("up", "http://conan.invalid")
		proxy := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{up}}, "HTTP_PROXY="+network.URL(), "NO_PROXY=", "no_proxy=")
		reader := e2etest.NewConan1(t, proxy.URL())
		reader.Install("header/1.0@demo/testing")
		e2etest.SameTree(t, "header", publisher, reader)
		if len(network.Calls()) == 0 {
			t.Error("the network's proxy saw no request")
		}
	})
	t.Run("with a private authority", func(t *testing.T) {
		network := e2etest.Record(t, server.URL(), e2etest.BothAPIs)
		secure := httptest.NewTLSServer(network.Handler())
		defer secure.Close()
		file := filepath.Join(t.TempDir(), "ca.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
		if err := os.WriteFile(file, block, 0o644); err != nil {
			t.Fatal(err)
		}
		trusting := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("up", secure.URL, harness.Settings{"ca_file": file})}})
		reader := e2etest.NewConan1(t, trusting.URL())
		reader.Install("header/1.0@demo/testing")
		e2etest.SameTree(t, "header", publisher, reader)

		wary := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("up", secure.URL)}})
		status, _, body := e2etest.Get(t, wary.URL("v1/conans/header/1.0/demo/testing/download_urls"))
		if status != http.StatusFailedDependency || !strings.Contains(body, "up") {
			t.Errorf("an upstream with an unknown certificate: %d %q, want 424 and its name", status, body)
		}
	})
}

// TestGitLabPrefixes: the remote addresses that GitLab's documentation gives work as they are.
func TestGitLabPrefixes(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	publisher := e2etest.NewConan1(t, proxy.URL("api/v4/projects/local/packages/conan")).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "header"), "demo/testing")
	publisher.Upload("*")
	reader := e2etest.NewConan1(t, proxy.URL("api/v4/packages/conan"))
	reader.Install("header/1.0@demo/testing")
	e2etest.SameTree(t, "header", publisher, reader)
	two := e2etest.NewConan2(t, proxy.URL("projects/all/packages/conan"))
	two.Install("header/1.0@demo/testing", "--build=missing")
}
