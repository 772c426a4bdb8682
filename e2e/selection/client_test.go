package selection

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// step is one question to client.py.
type step struct {
	Argv    []string `json:"argv,omitempty"`
	Round   string   `json:"round,omitempty"` // what package revisions are made of
	Pattern string   `json:"pattern,omitempty"`
	Query   string   `json:"query,omitempty"`
}

// run is a command in the client's words.
func run(round, command string) step { return step{Argv: strings.Fields(command), Round: round} }

//go:embed client.py
var program string

// answer is what the client said to one step.
type answer struct {
	Answer json.RawMessage `json:"answer"`
	Error  string          `json:"error"`
}

// ask puts the questions to one process of the client.
func ask(t *testing.T, c *e2etest.Client, steps ...step) []answer {
	t.Helper()
	questions, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "questions.json"), filepath.Join(dir, "answers.json")
	if err := os.WriteFile(in, questions, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := c.Command(t.Context())
	cmd.Path = filepath.Join(filepath.Dir(c.Program), "python")
	cmd.Args = []string{cmd.Path, "-c", program, in, out}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("client.py: %v\n%s", err, harness.LastBytes(string(said), 4000))
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var answers []answer
	if err := json.Unmarshal(text, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// must is ask for steps that may not fail.
func must(t *testing.T, c *e2etest.Client, steps ...step) []answer {
	t.Helper()
	answers := ask(t, c, steps...)
	for i, a := range answers {
		if a.Error != "" {
			t.Fatalf("%v: %s", steps[i], a.Error)
		}
	}
	return answers
}
