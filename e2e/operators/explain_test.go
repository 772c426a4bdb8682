package operators

import (
	"os"
	"path/filepath"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestExplainMissingBinary: a client whose profile says Debug finds no binary; the command names
// the setting in which the binary that there is differs, by the client's graph and by its profile.
func TestExplainMissingBinary(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"stores": []harness.Settings{{"name": "dev"}}, "upstreams": []harness.Settings{},
	})
	const ref = "lib/1.0@acme/stable"
	c := e2etest.NewConan2(t, proxy.URL("r", "dev")).As("demo", "demo")
	c.Create(e2etest.Recipe(t, "lib"), "acme/stable", "-s", "build_type=Release")
	c.Upload("lib/*")

	consumer := e2etest.NewConan2(t, proxy.URL("r", "dev")).As("demo", "demo")
	debug := []string{"-s", "build_type=Debug"}
	consumer.Fails([]string{"Missing"}, consumer.InstallArgs(ref, debug...)...)
	dir := t.TempDir()
	save := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	graph := save("graph.json", consumer.Output(append([]string{"graph", "info", "--requires", ref, "-r", "r", "--format", "json"}, debug...)...))
	profile := save("profile", consumer.Output(append([]string{"profile", "show"}, debug...)...))

	o := e2etest.NewOperator(t, proxy, "demo")
	for name, args := range map[string][]string{
		"graph":                {"--graph", graph},
		"graph of a reference": {"--graph", graph, ref},
		"profile":              {"--profile", profile, ref},
	} {
		out := o.Must(append([]string{"explain", "--view", "dev"}, args...)...)
		e2etest.Says(t, out, "dev: ", "nearest: the nearest 1 of 1 binaries of "+ref, "    setting build_type is Release, wanted Debug\n")
		e2etest.SilentAbout(t, out, "setting compiler", "setting os", "option")
		if name != "profile" {
			e2etest.Says(t, out, "dev: does not have "+ref+"#", "answer: 404, no member has "+ref)
		}
	}
	e2etest.Says(t, o.Must("explain", "--client", "2", ref), "dev: has "+ref+"#", "answer: 200, "+ref+"#", "first member in order")
	o.Fails(2, "no package that was asked for is missing", "explain", "--graph", graph, "zlib/1.3")
	o.Fails(2, "exclude each other", "explain", "--graph", graph, "--profile", profile)
	o.Fails(2, "is not name/version", "explain", "lib")
	o.Fails(2, "no store, upstream or view", "explain", "--view", "moon", ref)
	o.Fails(2, "neither [settings] nor [options]", "explain", "--profile", graph, ref)
}
