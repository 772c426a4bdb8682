package conformance

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// peakMemory is the most memory in bytes that the program had so far; where the system does not
// tell, what it has now.
func (s *site) peakMemory(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
				return atoi(t, fields[1]) << 10
			}
		}
	}
	for line := range strings.Lines(s.call(t, http.MethodGet, "/metrics").is(t, http.StatusOK).body) {
		if value, ok := strings.CutPrefix(line, "go_memstats_sys_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(bytes)
		}
	}
	t.Fatal("the program's memory is not known")
	return 0
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
