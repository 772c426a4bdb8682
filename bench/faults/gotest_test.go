package faults

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/harness"
)

// goTest runs tests of a package and returns what they said.
func goTest(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		cmd.Env = append(cmd.Env, "TMPDIR=/dev/shm") // thousands of sequences write durably, and none is measured by its speed
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestModel runs the property tests of the rooms together, in parts side by side with seeds of
// their own.
func TestModel(t *testing.T) {
	r := newRun(t)
	model(r, "TestFaultsModel", "publish, publish again, fetch, evict, delete, gc, crash, in random order against a model")
	model(r, "TestFaultsOrganisation", "publish, promote, remove, restore, retain, hide, change rules, crash, in random order, and views against a model")
}

func model(r *run, test, what string) {
	parts := small(1, 2*runtime.NumCPU())
	each := (*sequences + parts - 1) / parts
	outs, errs := make([]string, parts), make([]error, parts)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			outs[i], errs[i] = goTest(r.Context(), "./cmd/conanproxy", "-count=1", "-run", "^"+test+"$", "-timeout", "3h",
				fmt.Sprintf("-rapid.checks=%d", each), fmt.Sprintf("-rapid.seed=%d", *seed+uint64(i)), "-rapid.nofailfile", "-v")
		})
	}
	wg.Wait()
	measured, reached := fmt.Sprintf("%d sequences, none", each*parts), true
	for i, out := range outs {
		switch {
		case errs[i] != nil:
			measured, reached = harness.LastBytes(out, 600), false
		case !strings.Contains(out, fmt.Sprintf("OK, passed %d tests", each)):
			measured, reached = "it did not run: "+harness.LastBytes(out, 300), false
		}
	}
	r.figure(what, "no divergence", reached, "%s", measured)
}

// TestFuzz runs every fuzz target of the repository for some time, as many side by side as there
// are processors.
func TestFuzz(t *testing.T) {
	r := newRun(t)
	if !*full {
		return
	}
	type target struct {
		pkg, name, measured string
		err                 error
	}
	packages, err := exec.CommandContext(r.Context(), "go", "list", "./...").Output()
	r.must(err)
	var targets []*target
	for _, pkg := range strings.Fields(string(packages)) {
		if strings.Contains(pkg, "/e2e") {
			continue
		}
		out, err := goTest(r.Context(), "-list", "^Fuzz", pkg)
		r.must(err)
		for _, name := range strings.Fields(out) {
			if strings.HasPrefix(name, "Fuzz") {
				targets = append(targets, &target{pkg: pkg, name: name})
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, t := range targets {
		group.Go(func() error {
			t.measured, t.err = r.fuzz(t.pkg, t.name)
			return nil
		})
	}
	_ = group.Wait()
	for _, t := range targets {
		r.figure(strings.TrimPrefix(t.pkg, "conanproxy/")+" "+t.name, "no crash in "+fuzztime.String(), t.err == nil, "%s", t.measured)
	}
}

// fuzz runs one target with one worker and returns how many inputs it took, or the end of what it
// said.
func (r *run) fuzz(pkg, target string) (measured string, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), *fuzztime+5*time.Minute)
	defer cancel()
	out, err := goTest(ctx, "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", fuzztime.String(), "-parallel", "1", pkg)
	// Go may report the end of the time as a failure without a finding, go.dev/issue/75804.
	if strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input written") {
		err = nil
	}
	if err != nil {
		return harness.LastBytes(out, 600), err
	}
	for _, line := range strings.Split(out, "\n") {
		if _, execs, ok := strings.Cut(line, "execs: "); ok {
			execs, _, _ = strings.Cut(execs, " ")
			measured = execs + " inputs, no crash"
		}
	}
	return measured, nil
}
