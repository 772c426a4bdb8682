package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// pids are the server and its children (nginx works in them).
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

// CPUSeconds is the user and system time spent so far; 0 where there is no /proc.
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

// Memory reads VmRSS and VmHWM (the peak) in bytes; 0 where there is no /proc.
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
