package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"conanproxy/internal/harness"
)

// load is what one run of wrk measured.
type load struct {
	PerSecond float64       // requests
	Bytes     float64       // per second, bodies and headers
	P99       time.Duration // latency
	Errors    int           // socket errors and answers that are not 2xx or 3xx
}

var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkBytes   = regexp.MustCompile(`Transfer/sec:\s+([\d.]+)([KMG]?)B`)
	wrkLatency = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s|m)`)
	wrkSocket  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// wrk asks one question over keep-alive connections. Each request is another one, by a script: wrk
// makes them as strings, which costs it less than the servers need to parse them. wrk counts
// answers of 404 as errors; notFound says that they are expected.
func wrk(ctx context.Context, dir, base string, q question, connections int, d time.Duration, notFound bool) (load, error) {
	host, prefix, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
	if prefix != "" {
		q.path = "/" + prefix + q.path
	}
	script, err := q.script(dir, host)
	if err != nil {
		return load{}, err
	}
	defer os.Remove(script)
	out, err := exec.CommandContext(ctx, "wrk", "-t", "2", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(int(d.Seconds()))+"s",
		"--timeout", "60s", "--latency", "-s", script, "http://"+host).CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk %s%s: %w: %s", host, q.path, err, harness.LastBytes(string(out), 400))
	}
	return parseWrk(string(out), notFound)
}

func parseWrk(text string, notFound bool) (load, error) {
	var l load
	m := wrkRate.FindStringSubmatch(text)
	if m == nil {
		return load{}, fmt.Errorf("wrk said: %s", harness.LastBytes(text, 400))
	}
	l.PerSecond, _ = strconv.ParseFloat(m[1], 64)
	if m := wrkBytes.FindStringSubmatch(text); m != nil {
		l.Bytes, _ = strconv.ParseFloat(m[1], 64)
		l.Bytes *= map[string]float64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[m[2]]
	}
	if m := wrkLatency.FindStringSubmatch(text); m != nil {
		value, _ := strconv.ParseFloat(m[1], 64)
		unit := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute}[m[2]]
		l.P99 = time.Duration(value * float64(unit))
	}
	if m := wrkSocket.FindStringSubmatch(text); m != nil {
		for _, n := range m[1:] {
			k, _ := strconv.Atoi(n)
			l.Errors += k
		}
	}
	if m := wrkStatus.FindStringSubmatch(text); m != nil && !notFound {
		n, _ := strconv.Atoi(m[1])
		l.Errors += n
	}
	return l, nil
}
