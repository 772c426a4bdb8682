package main

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

// process is one contestant or peer, in its own process group, with its output in a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	url  string // http://127.0.0.1:port
}

// launch describes how a process is started.
type launch struct {
	name string
	argv []string
	env  []string // added to a bare environment
	dir  string   // where its log goes
	port int
	path string // asked until it answers with any status
}

// start runs a process and waits until it answers.
func start(ctx context.Context, l launch) (*process, error) {
	logFile := filepath.Join(l.dir, l.name+".log")
	out, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(l.argv[0], l.argv[1:]...)
	cmd.Dir = l.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "NO_PROXY=*", "LC_ALL=C.UTF-8", "PYTHONUNBUFFERED=1"}, l.env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	p := &process{name: l.name, cmd: cmd, log: logFile, done: make(chan struct{}), url: "http://127.0.0.1:" + strconv.Itoa(l.port)}
	go func() { cmd.Wait(); close(p.done) }()
	if err := p.ready(ctx, l.path); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *process) ready(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
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
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended: %s", p.name, lastBytes(string(text), 1000))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.name, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop ends the process and what it started.
func (p *process) stop() {
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

// pids are the process and its children (nginx works in them).
func (p *process) pids() []int {
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

// cpuSeconds is the user and system time spent so far.
func (p *process) cpuSeconds() float64 {
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

// memory reads VmRSS and VmHWM (the peak) in bytes.
func (p *process) memory() (now, peak int64) {
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

// resetPeak starts the peak of memory anew.
func (p *process) resetPeak() {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// freePort returns a port that was free a moment ago.
func freePort() (int, error) {
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

func lastBytes(s string, n int) string {
	if len(s) > n {
		s = s[len(s)-n:]
	}
	return strings.TrimSpace(s)
}
