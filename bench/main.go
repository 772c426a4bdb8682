// Command bench measures conanproxy beside what a user would take instead: nginx with proxy_cache, a conan_server on
// the LAN, a bare handler. It starts everything itself on the loopback, makes its data from a seed, interleaves the
// contestants round by round and prints medians as ratios of this one run.
//
//	go run ./bench                 every row; about an hour
//	go run ./bench -quick          small sizes, two minutes, a smoke test
//	go run ./bench -rows 1,2,10    some rows
//
// It needs nginx and wrk, and a Python from 3.8 to 3.12 for the real conan_server and clients.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	quick      bool
	rows       string
	jsonFile   string
	svgFile    string
	growthFile string
	textFile   string
	seed       uint64
	keep       bool
	rounds     int
}

// times is how often a row measures: once in a smoke test, as -rounds says, or as usual.
func (o options) times(usual int) int {
	switch {
	case o.quick:
		return 1
	case o.rounds > 0:
		return o.rounds
	}
	return usual
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "small sizes and one round: a smoke test")
	flag.StringVar(&o.rows, "rows", "", "comma-separated rows, for example 1,2,10 (default: all)")
	flag.StringVar(&o.jsonFile, "json", "", "write the report as JSON to this file")
	flag.StringVar(&o.svgFile, "svg", "", "write the chart to this file")
	flag.StringVar(&o.growthFile, "growth", "", "write the curves of row 7 to this file, as SVG")
	flag.StringVar(&o.textFile, "text", "", "write the table to this file too")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of all data")
	flag.IntVar(&o.rounds, "rounds", 0, "how often each contestant is measured (default: 3 or 5, by row)")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory (logs of all contestants)")
	echoListen := flag.String("serve-echo", "", "internal: be the bare echo handler at this address")
	echoAnswers := flag.String("answers", "", "internal: what the bare handler answers")
	flag.Parse()
	if *echoListen != "" {
		fail(serveEcho(*echoListen, *echoAnswers))
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	fail(run(ctx, o))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is one line of work.
type row struct {
	id   string
	what string
	run  func(context.Context, *lab, options, *report) error
}

func allRows() []row {
	return []row{
		{"1", "small warm answers", row1},
		{"2", "warm files", row2},
		{"3", "cold file", row3},
		{"4", "herd", row4},
		{"5", "uploads", row5},
		{"6", "size", row6},
		{"7", "growth", row7},
		{"8", "memory", row8},
		{"9", "the real client", row9},
		{"10", "idle", row10},
	}
}

func run(ctx context.Context, o options) error {
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "conanproxy-bench-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintln(os.Stderr, "bench: everything is in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	l := &lab{dir: dir, root: root, binary: filepath.Join(dir, "conanproxy"), seed: o.seed}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", l.binary, "./cmd/conanproxy")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	rep := &report{Machine: machine(), Command: "go run ./bench " + strings.Join(os.Args[1:], " "), Seed: o.seed}
	wanted := map[string]bool{}
	for _, id := range strings.FieldsFunc(o.rows, func(r rune) bool { return r == ',' }) {
		wanted[id] = true
	}
	var failed error // a row that fails takes no other with it
	for _, r := range allRows() {
		if ctx.Err() != nil {
			break
		}
		if len(wanted) > 0 && !wanted[r.id] {
			continue
		}
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "bench: row %s, %s …\n", r.id, r.what)
		if err := r.run(ctx, l, o, rep); err != nil {
			failed = errors.Join(failed, fmt.Errorf("row %s (%s): %w", r.id, r.what, err))
		}
		fmt.Fprintf(os.Stderr, "bench: row %s took %s\n", r.id, time.Since(begin).Round(time.Second))
	}
	return errors.Join(failed, ctx.Err(), rep.write(o))
}

// write prints the table and writes the files that were asked for.
func (r *report) write(o options) error {
	if err := r.writeText(os.Stdout); err != nil {
		return err
	}
	outputs := []struct {
		file  string
		write func(*os.File) error
	}{
		{o.textFile, func(f *os.File) error { return r.writeText(f) }},
		{o.jsonFile, func(f *os.File) error { return r.writeJSON(f) }},
		{o.svgFile, func(f *os.File) error { return r.writeSVG(f) }},
		{o.growthFile, func(f *os.File) error { return r.writeGrowthSVG(f) }},
	}
	for _, x := range outputs {
		if x.file == "" {
			continue
		}
		f, err := os.Create(x.file)
		if err != nil {
			return err
		}
		if err := x.write(f); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func repositoryRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// machine says what the figures were measured on.
func machine() string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%d × %s, %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
