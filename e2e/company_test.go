package e2e

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompanyNetwork: an upstream that only the network's HTTP proxy can reach, and one whose certificate only a
// private authority vouches for.
func TestCompanyNetwork(t *testing.T) {
	t.Parallel()
	server := startConanServer(t, Conan1, conanServerOptions{})
	publisher := newConan1(t, server.url()).as("demo", "demo")
	publisher.create(recipe(t, "header"), "demo/testing")
	publisher.upload("*")

	t.Run("through an HTTP proxy", func(t *testing.T) {
		network := record(t, server.url(), bothAPIs)
		up := upstream("up", "http://conan.invalid")
		proxy := startConanproxy(t, settings{"upstreams": []settings{up}}, "HTTP_PROXY="+network.url(), "NO_PROXY=", "no_proxy=")
		reader := newConan1(t, proxy.url())
		reader.install("header/1.0@demo/testing")
		sameTree(t, "header", publisher, reader)
		if len(network.calls()) == 0 {
			t.Error("the network's proxy saw no request")
		}
	})
	t.Run("with a private authority", func(t *testing.T) {
		network := record(t, server.url(), bothAPIs)
		secure := httptest.NewTLSServer(network.handler())
		defer secure.Close()
		file := filepath.Join(t.TempDir(), "ca.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
		if err := os.WriteFile(file, block, 0o644); err != nil {
			t.Fatal(err)
		}
		trusting := startConanproxy(t, settings{"upstreams": []settings{upstream("up", secure.URL, settings{"ca_file": file})}})
		reader := newConan1(t, trusting.url())
		reader.install("header/1.0@demo/testing")
		sameTree(t, "header", publisher, reader)

		wary := startConanproxy(t, settings{"upstreams": []settings{upstream("up", secure.URL)}})
		status, _, body := get(t, wary.url("v1/conans/header/1.0/demo/testing/download_urls"))
		if status != 503 || !strings.Contains(body, "up") {
			t.Errorf("an upstream with an unknown certificate: %d %q, want 503 and its name", status, body)
		}
	})
}

// TestGitLabPrefixes: the remote addresses that GitLab's documentation gives work as they are.
func TestGitLabPrefixes(t *testing.T) {
	t.Parallel()
	proxy := startConanproxy(t, nil)
	publisher := newConan1(t, proxy.url("api/v4/projects/local/packages/conan")).as("demo", "demo")
	publisher.create(recipe(t, "header"), "demo/testing")
	publisher.upload("*")
	reader := newConan1(t, proxy.url("api/v4/packages/conan"))
	reader.install("header/1.0@demo/testing")
	sameTree(t, "header", publisher, reader)
	two := newConan2(t, proxy.url("projects/all/packages/conan"))
	two.install("header/1.0@demo/testing", "--build=missing")
}
