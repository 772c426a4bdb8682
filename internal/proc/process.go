// Package proc starts the servers that benchmarks and fault runs look at, and reads what they use from /proc.
package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one server, in its own process group, with its output in a file.
type Process struct {
	Name string
	Log  string // path of the file with its output
	URL  string // http://127.0.0.1:port

	cmd  *exec.Cmd
	done chan struct{}
}

// Launch describes how a process is started.
type Launch struct {
	Name string
	Argv []string
	Env  []string // added to a bare environment
	Dir  string   // its working directory, where its log goes
	Port int
	Path string // asked until it answers with any status
}

// Start runs a process and waits until it answers.
func Start(ctx context.Context, l Launch) (*Process, error) {
	logFile := filepath.Join(l.Dir, l.Name+".log")
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(l.Argv[0], l.Argv[1:]...)
	cmd.Dir = l.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.Dir, "NO_PROXY=*", "LC_ALL=C.UTF-8", "PYTHONUNBUFFERED=1"}, l.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.Name, err)
	}
	p := &Process{Name: l.Name, cmd: cmd, Log: logFile, done: make(chan struct{}), URL: "http://127.0.0.1:" + strconv.Itoa(l.Port)}
	go func() { cmd.Wait(); close(p.done) }()
	if err := p.ready(ctx, l.Path); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Process) ready(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+path, nil)
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
			text, _ := os.ReadFile(p.Log)
			return fmt.Errorf("%s ended: %s", p.Name, LastBytes(string(text), 1000))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.Name, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Stop ends the process and what it started.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// Kill ends the process at once, as a crash does.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// pids are the process and its children (nginx works in them).
func (p *Process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return pids
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := statFields(pid); len(fields) > 2 && fields[1] == strconv.Itoa(p.cmd.Process.Pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// CPUSeconds is the user and system time spent so far.
func (p *Process) CPUSeconds() float64 {
	var ticks float64
	for _, pid := range p.pids() {
		f := statFields(pid)
		if len(f) < 13 {
			continue
		}
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		ticks += user + system
	}
	return ticks / 100 // USER_HZ is 100 on every Linux that Go runs on
}

// statFields are the fields of /proc/PID/stat after the command: state, parent, …
func statFields(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)
}

// Memory reads VmRSS and VmHWM (the peak) in bytes.
func (p *Process) Memory() (now, peak int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	value := func(key string) int64 {
		_, rest, ok := strings.Cut(string(b), key+":")
		if !ok {
			return 0
		}
		kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		return kb << 10
	}
	return value("VmRSS"), value("VmHWM")
}

// ResetPeak starts the peak of memory anew.
func (p *Process) ResetPeak() {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// FreePort returns a port that was free a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("no TCP address")
	}
	return addr.Port, nil
}

// LastBytes is the end of a text, at most n bytes.
func LastBytes(s string, n int) string {
	if len(s) > n {
		s = s[len(s)-n:]
	}
	return strings.TrimSpace(s)
}
