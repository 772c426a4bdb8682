package mirror

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// tool runs a program that Debian has.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		e2etest.Missing(t, "%s is not installed", name)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestSignedBundles: a bundle that is signed by a key of the real minisign is applied where its
// public key is configured, and no other; a later one leaves out what the first has; the real
// minisign and skopeo read both.
func TestSignedBundles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret, public := filepath.Join(dir, "key"), filepath.Join(dir, "key.pub")
	tool(t, "minisign", "-G", "-W", "-s", secret, "-p", public)
	text, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(strings.SplitN(string(text), "\n", 2)[1])
	from := e2etest.StartConanproxy(t, closed())
	to := e2etest.StartConanproxy(t, closed(harness.Settings{"verify_keys": []string{key}}))
	publisher := e2etest.NewConan2(t, from.URL("r", "local")).As("ann", "ann")
	publish := func(version string) {
		publisher.Create(e2etest.Recipe(t, "lib", `version = "1.0"`, `version = "`+version+`"`), "acme/stable")
		publisher.Upload("lib/" + version + "@*")
	}
	publish("1.0")
	ann, demo := e2etest.NewOperator(t, from, "ann"), e2etest.NewOperator(t, to, "demo")
	first, second, plain := filepath.Join(dir, "first"), filepath.Join(dir, "second"), filepath.Join(dir, "plain")
	e2etest.Says(t, ann.Must("bundle", "create", "--output", first, "--sign", secret, "*"), "signed: true")
	publish("2.0")
	e2etest.Says(t, ann.Must("bundle", "create", "--output", second, "--sign", secret, "--since", first, "*"), "4 revisions", "apply bundle", "first")
	ann.Must("bundle", "create", "--output", plain, "*")
	if size(t, second) > size(t, plain) {
		t.Error("the later bundle is no smaller")
	}
	ann.Must("bundle", "verify", first, "--key", key)
	ann.Fails(1, "not signed", "bundle", "verify", plain, "--key", key)

	demo.Fails(2, "not signed", "bundle", "apply", plain, "--to", "local")
	demo.Fails(1, "apply the bundle", "bundle", "apply", second, "--to", "local")
	e2etest.Says(t, demo.Must("bundle", "apply", first, "--to", "local"), "2 revisions, 0 skipped")
	e2etest.Says(t, demo.Must("bundle", "apply", second, "--to", "local"), "2 revisions, 2 skipped")
	installer := e2etest.NewConan2(t, to.URL("r", "local"))
	installer.Install("lib/1.0@acme/stable")
	installer.Install("lib/2.0@acme/stable")

	for _, bundle := range []string{first, plain} {
		layout := unpack(t, bundle)
		if bundle == first {
			tool(t, "minisign", "-V", "-p", public, "-m", filepath.Join(layout, "index.json"), "-x", filepath.Join(layout, "index.json.minisig"))
		}
		for _, ref := range references(t, layout) {
			e2etest.Says(t, tool(t, "skopeo", "copy", "--insecure-policy", "oci-archive:"+bundle+":"+ref, "dir:"+t.TempDir()), "Storing signatures")
		}
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// unpack unpacks a bundle without the program.
func unpack(t *testing.T, bundle string) (dir string) {
	t.Helper()
	f, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir = t.TempDir()
	in := tar.NewReader(f)
	for {
		head, err := in.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, head.Name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, head.Name), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// references are the names by which standard tools choose a manifest of a layout.
func references(t *testing.T, layout string) (refs []string) {
	t.Helper()
	var index struct {
		Manifests []struct{ Annotations map[string]string }
	}
	text, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range index.Manifests {
		refs = append(refs, m.Annotations["org.opencontainers.image.ref.name"])
	}
	return refs
}

// TestOwnedNames: what comes from outside under a name that a store owns goes only into that store.
func TestOwnedNames(t *testing.T) {
	t.Parallel()
	from := e2etest.StartConanproxy(t, closed())
	to := e2etest.StartConanproxy(t, closed(harness.Settings{
		"stores": []harness.Settings{{"name": "dev"}, {"name": "release", "owns": []string{"*@acme/*"}}},
	}))
	publisher := e2etest.NewConan2(t, from.URL("r", "local")).As("ann", "ann")
	publisher.Export(e2etest.Recipe(t, "lib"), "acme/stable")
	publisher.Upload("lib/*")
	file := filepath.Join(t.TempDir(), "bundle")
	e2etest.NewOperator(t, from, "ann").Must("bundle", "create", "--output", file, "*")
	demo := e2etest.NewOperator(t, to, "demo")
	demo.Fails(1, "owned by another store", "bundle", "apply", file, "--to", "dev")
	demo.Must("bundle", "apply", file, "--to", "release")
}
