package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one server under test.
type process struct {
	t    testing.TB
	name string
	argv []string
	env  []string
	dir  string
	// ready is the URL that answers once the server is up; any answer counts.
	ready string

	logs lockedBuffer
	cmd  *exec.Cmd
	done chan struct{}
}

// startProcess starts a server, waits until it answers, and stops it when the test ends. If the test failed its
// output is attached.
func startProcess(t testing.TB, p *process) *process {
	t.Helper()
	p.t = t
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("---- %s said:\n%s", p.name, tail(p.logs.String(), 12000))
		}
	})
	p.start()
	return p
}

// start runs the process (again, after a stop) and waits until it answers.
func (p *process) start() {
	p.t.Helper()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir = p.dir
	cmd.Env = p.env
	cmd.Stdout = &p.logs
	cmd.Stderr = &p.logs
	cmd.SysProcAttr = endWithParent()
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	p.cmd = cmd
	p.done = make(chan struct{})
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	if err := p.waitReady(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
}

func (p *process) waitReady() error {
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ready, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("ended: %v: %s", p.cmd.ProcessState, tail(p.logs.String(), 2000))
		case <-ctx.Done():
			return fmt.Errorf("no answer at %s: %w", p.ready, err)
		case <-tick.C:
		}
	}
}

// stop ends the process, gently first, and waits for it. A stopped process is left alone.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// kill ends the process at once, as a crash would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
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

// ports hands out free ports of 127.0.0.1 below the range that outgoing connections use.
var ports struct {
	mu   sync.Mutex
	next int
}

func freePort(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	const low, high = 20000, 32000
	if ports.next == 0 {
		ports.next = low + rand.IntN(high-low)
	}
	for range high - low {
		ports.next++
		if ports.next >= high {
			ports.next = low
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err == nil {
			l.Close()
			return ports.next
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatal("no free port")
	return 0
}

// cleanEnv is the environment of every process: nothing of the developer's own Conan or proxy settings.
func cleanEnv(home string, extra ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"LC_ALL=C.UTF-8",
		"NO_PROXY=*",
		"no_proxy=*",
		"PYTHONDONTWRITEBYTECODE=1",
		"PYTHONUNBUFFERED=1",
	}
	for _, name := range []string{"TMPDIR", "PYENV_ROOT", "PYENV_VERSION", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, extra...)
}

// lines splits a text into its lines without the empty last one.
func lines(s string) []string {
	s = strings.TrimRight(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
