// Package harness starts what end-to-end tests, fault tests and the benchmark run on the loopback:
// conanproxy, the real conan_server, nginx, the real Conan clients, and slow networks. It returns
// errors and does not know the package testing, so that tests and commands use it alike.
package harness

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Launch describes how a server is started.
type Launch struct {
	Name  string // also names its log
	Argv  []string
	Env   []string // the whole environment; see CleanEnv
	Dir   string   // the working directory; its log is Dir/Name.log
	Ready string   // a URL that is asked until it answers with any status
}

// Process is one server in its own process group. Its output is appended to a file.
type Process struct {
	Launch

	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs a server and waits at most a minute until it answers. Errors carry the end of the
// server's output.
func Start(ctx context.Context, l Launch) (*Process, error) {
	p := &Process{Launch: l}
	return p, p.Restart(ctx)
}

// Restart runs the server again after Stop or Kill, and waits until it answers.
func (p *Process) Restart(ctx context.Context) error {
	out, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Dir, cmd.Env = p.Dir, p.Env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	done := p.done
	go func() { cmd.Wait(); close(done) }()
	if err := p.waitReady(ctx); err != nil {
		p.Stop()
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	return nil
}

func (p *Process) waitReady(ctx context.Context) error {
	defer Waiting("for %s to answer at %s", p.Name, p.Ready)()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Ready, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %v: %s", p.cmd.ProcessState, LastBytes(p.Log(), 2000))
		case <-ctx.Done():
			return fmt.Errorf("no answer at %s: %w", p.Ready, err)
		case <-tick.C:
		}
	}
}

// URL is the address of the server, "http://127.0.0.1:port".
func (p *Process) URL() string {
	scheme, rest, _ := strings.Cut(p.Ready, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// Address is the host and port of the server.
func (p *Process) Address() string { return p.URL()[strings.Index(p.URL(), "://")+3:] }

// LogFile is the path of the server's output.
func (p *Process) LogFile() string { return filepath.Join(p.Dir, p.Name+".log") }

// Log is the server's output so far, of all its runs.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Stop ends the server by SIGTERM and waits for it; after 15 seconds it kills the process group. A
// stopped server is left alone.
func (p *Process) Stop() {
	if p.cmd == nil || p.ended() {
		return
	}
	defer Waiting("for %s to end", p.Name)()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		killGroup(p.cmd.Process)
		<-p.done
	}
}

// Kill ends the server at once, as a crash does.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Pid is the process id of the current run.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the current run has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// LastBytes is the end of a text, at most n bytes.
func LastBytes(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}
