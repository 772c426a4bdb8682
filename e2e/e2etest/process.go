package e2etest

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"conanproxy/internal/harness"
)

// process is one server under test; a failure to start or to answer ends the test.
type process struct {
	*harness.Process
	t testing.TB
}

// watch stops a server when the test ends. If the test failed, its output is attached.
func watch(t testing.TB, p *harness.Process) *process {
	t.Helper()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("---- %s said:\n%s", p.Name, harness.LastBytes(p.Log(), 12000))
		}
	})
	return &process{Process: p, t: t}
}

// Start runs the process again, after a stop, and waits until it answers.
func (p *process) Start() {
	p.t.Helper()
	if err := p.Restart(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// lockedBuffer is a bytes.Buffer that a process may write while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func FreePort(t testing.TB) int {
	t.Helper()
	port, err := harness.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Lines splits a text into its lines without the empty last one.
func Lines(s string) []string {
	s = strings.TrimRight(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
