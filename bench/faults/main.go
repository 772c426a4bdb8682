// Command faults breaks everything around conanproxy, and conanproxy itself, and measures what its users notice. It starts
// all servers itself on the loopback, takes its randomness from a seed, ends by itself and prints one table.
//
//	go run ./bench/faults                       everything, hours (fuzzing most of them)
//	go run ./bench/faults -quick                small sizes, about three minutes; what CI runs
//	go run ./bench/faults -only fill,matrix     some checks
//
// The real clients need a Python from 3.8 to 3.12; a small filesystem of its own is mounted where that is allowed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	quick    bool
	seed     uint64
	only     string
	report   string
	keep     bool
	rounds   int
	fuzztime time.Duration
	checks   int
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "small sizes and no fuzzing: about three minutes")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of all data and of every random choice")
	flag.StringVar(&o.only, "only", "", "comma-separated names of checks (default: all)")
	flag.StringVar(&o.report, "report", "", "write the table as a page of Markdown to this file")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory (logs, stores)")
	flag.IntVar(&o.rounds, "rounds", 500, "rounds of kill -9 of each kind (6 with -quick)")
	flag.DurationVar(&o.fuzztime, "fuzztime", 10*time.Minute, "time for each fuzz target (not with -quick)")
	flag.IntVar(&o.checks, "sequences", 10000, "sequences of the property tests (60 with -quick)")
	flag.Parse()
	if o.quick {
		o.rounds, o.checks = min(o.rounds, 6), min(o.checks, 60)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	reached, err := runAll(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || !reached {
		cancel()
		os.Exit(1)
	}
}

// check is one row of the table, or a few.
type check struct {
	name string
	what string
	run  func(*run)
}

func allChecks() []check {
	return []check{
		{"fill", "one cold file, many clients, a reset", checkFill},
		{"flip", "a flipped bit on the first transfer, real clients", checkFlip},
		{"kill", "kill -9 at any moment", checkKill},
		{"matrix", "upstream faults × read routes × cold and warm", checkMatrix},
		{"clients", "upstream faults × real clients, warm", checkClients},
		{"outage", "upstream dead for an hour", checkOutage},
		{"disk", "a full disk", checkDisk},
		{"bits", "a flipped bit in each stored blob", checkBits},
		{"slow", "many slow clients", checkSlow},
		{"abuse", "floods and slow attackers", checkAbuse},
		{"drain", "SIGTERM under load", checkDrain},
		{"model", "random sequences against a model", checkModel},
		{"fuzz", "native fuzzing", checkFuzz},
	}
}

// runAll runs the checks that were asked for and reports; reached tells whether every figure was.
func runAll(ctx context.Context, o options) (reached bool, err error) {
	root, err := repositoryRoot(ctx)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "conanproxy-faults-")
	if err != nil {
		return false, err
	}
	if o.keep {
		fmt.Fprintln(os.Stderr, "faults: everything is in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	l := &lab{options: o, dir: dir, root: root, binary: filepath.Join(dir, "conanproxy"), rep: &report{Machine: machine(), Command: command(), Seed: o.seed}}
	if err := l.build(ctx); err != nil {
		return false, err
	}
	wanted := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range wanted {
		if !slices.ContainsFunc(allChecks(), func(c check) bool { return c.name == name }) {
			return false, fmt.Errorf("there is no check %q", name)
		}
	}
	for _, c := range allChecks() {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if len(wanted) > 0 && !slices.Contains(wanted, c.name) {
			continue
		}
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "faults: %s: %s …\n", c.name, c.what)
		if err := l.do(ctx, c); err != nil {
			l.rep.add(figure{Check: c.name, What: c.what, Demanded: "the check runs", Measured: err.Error()})
		}
		fmt.Fprintf(os.Stderr, "faults: %s took %s\n", c.name, time.Since(begin).Round(100*time.Millisecond))
	}
	return l.rep.reached(!o.quick), l.rep.write(o.report)
}

func (l *lab) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", l.binary, "./cmd/conanproxy")
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
}

func repositoryRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// command is what repeats the run.
func command() string {
	return strings.TrimSpace("go run ./bench/faults " + strings.Join(os.Args[1:], " "))
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
