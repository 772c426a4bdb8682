// Package faults breaks everything around conanproxy, and conanproxy itself, and measures what its
// users notice. Each test is a promise with the figures that it has to reach. It starts all servers
// itself on the loopback and takes its randomness from a seed.
//
//	go test ./bench/faults                             small sizes, a few minutes
//	go test ./bench/faults -full -timeout 0            full sizes, hours (fuzzing most of them)
//	go test ./bench/faults -run 'Fill|Matrix' -full    some of them
//
// The real clients need a Python from 3.8 to 3.12; a small filesystem of its own is mounted where
// that is allowed.
package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/harness"
)

var (
	full      = flag.Bool("full", false, "full sizes, and figures that depend on how busy the machine is count")
	seed      = flag.Uint64("seed", 1, "seed of all data and of every random choice")
	page      = flag.String("report", "", "put the table of figures into this page of Markdown")
	keep      = flag.Bool("keep", false, "keep the temporary folder (logs, stores)")
	rounds    = flag.Int("rounds", 0, "rounds of kill -9 of each kind (0: 6, with -full 500)")
	sequences = flag.Int("sequences", 0, "random sequences against the model (0: 60, with -full 10000)")
	fuzztime  = flag.Duration("fuzztime", 10*time.Minute, "time for each fuzz target, with -full")
)

// What all tests share; set by TestMain.
var (
	root    string // of the repository
	program string // conanproxy
	figures *report
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	if *rounds == 0 {
		*rounds = small(6, 500)
	}
	if *sequences == 0 {
		*sequences = small(60, 10000)
	}
	if root, err = harness.Root(); err != nil {
		return 0, err
	}
	folder, err := harness.NewFolder("conanproxy-faults")
	if err != nil {
		return 0, err
	}
	end := folder.Remove
	if *keep {
		fmt.Fprintln(os.Stderr, "faults: everything is in", folder.Path)
		end = folder.Keep
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := os.Setenv("TMPDIR", folder.Path); err != nil {
		return 0, err
	}
	defer harness.ReportWaits(os.Stderr, "faults", time.Minute)()
	program = filepath.Join(folder.Path, "conanproxy")
	if err := harness.Build(context.Background(), root, program); err != nil {
		return 0, err
	}
	figures = &report{Machine: harness.Machine(), Command: command(), Seed: *seed}
	code = m.Run()
	if len(figures.Figures) == 0 {
		return code, nil // nothing was selected
	}
	return code, figures.write(*page)
}

// command is what repeats the run.
func command() string {
	var args []string
	flag.Visit(func(f *flag.Flag) {
		switch name := strings.TrimPrefix(f.Name, "test."); name {
		case "run", "full", "seed", "rounds", "sequences", "fuzztime":
			args = append(args, "-"+name+"="+f.Value.String())
		}
	})
	return strings.Join(append([]string{"go test ./bench/faults"}, args...), " ")
}
