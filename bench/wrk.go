package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"conanproxy/internal/proc"
)

// load is what one run of wrk measured.
type load struct {
	PerSecond float64       // requests
	Bytes     float64       // per second, bodies and headers
	P50, P99  time.Duration // latency
	Errors    int           // socket errors and answers that are not 2xx or 3xx
}

var (
	wrkRate    = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkBytes   = regexp.MustCompile(`Transfer/sec:\s+([\d.]+)([KMG]?)B`)
	wrkLatency = regexp.MustCompile(`(50|99)%\s+([\d.]+)(us|ms|s|m)`)
	wrkSocket  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// wrk loads one URL over keep-alive connections. Answers of 404 are counted as errors by wrk; notFound says that they are expected.
func wrk(ctx context.Context, url string, connections int, d time.Duration, notFound bool) (load, error) {
	out, err := exec.CommandContext(ctx, "wrk", "-t", "2", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(int(d.Seconds()))+"s",
		"--timeout", "60s", "--latency", url).CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk %s: %w: %s", url, err, proc.LastBytes(string(out), 400))
	}
	return parseWrk(string(out), notFound)
}

func parseWrk(text string, notFound bool) (load, error) {
	var l load
	m := wrkRate.FindStringSubmatch(text)
	if m == nil {
		return load{}, fmt.Errorf("wrk said: %s", proc.LastBytes(text, 400))
	}
	l.PerSecond, _ = strconv.ParseFloat(m[1], 64)
	if m := wrkBytes.FindStringSubmatch(text); m != nil {
		l.Bytes, _ = strconv.ParseFloat(m[1], 64)
		l.Bytes *= map[string]float64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[m[2]]
	}
	for _, m := range wrkLatency.FindAllStringSubmatch(text, -1) {
		value, _ := strconv.ParseFloat(m[2], 64)
		unit := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute}[m[3]]
		d := time.Duration(value * float64(unit))
		if m[1] == "50" {
			l.P50 = d
		} else {
			l.P99 = d
		}
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
