package operators

import (
	"os/exec"
	"path/filepath"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestAPIKeepsItsDocument sends the operators' API what its document allows and what it does not:
// no answer is a 500, and none is one that the document does not have.
func TestAPIKeepsItsDocument(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"stores": []harness.Settings{
			{"name": "dev", "retention": harness.Settings{"rules": []harness.Settings{{"pattern": "*", "keep_recipe_revisions": 1}}}}, {"name": "release"},
		},
		"upstreams": []harness.Settings{},
		"auth":      harness.Settings{"admin": []string{"demo"}},
	})
	c := e2etest.NewConan2(t, proxy.URL("r", "dev")).As("demo", "demo")
	c.Create(e2etest.Recipe(t, "header"), "acme/stable")
	c.Upload("header/*")
	bin, err := harness.Venv(t.Context(), e2etest.Root(t), harness.Schemathesis)
	if err != nil {
		t.Fatal(err)
	}
	for _, credentials := range [][]string{nil, {"--auth", "demo:demo"}} { // an administrator
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "schemathesis"), append([]string{
			"run", proxy.URL() + "/api/v1/openapi.json", "--max-examples", "50", "--seed", "1", "--checks",
			"not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection,unsupported_method",
		}, credentials...)...)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", credentials, err, harness.LastBytes(string(out), 4000))
		}
	}
}
