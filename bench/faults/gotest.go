package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/proc"
)

// goTest runs tests of a package and returns what they said.
func (r *run) goTest(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		cmd.Env = append(cmd.Env, "TMPDIR=/dev/shm") // thousands of sequences write durably, and none is measured by its speed
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// checkModel runs the property test of the rooms together, in parts side by side with seeds of their own.
func checkModel(r *run) {
	parts := small(r, 1, 2*runtime.NumCPU())
	each := (r.checks + parts - 1) / parts
	outs, errs := make([]string, parts), make([]error, parts)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			outs[i], errs[i] = r.goTest(r.ctx, "./cmd/conanproxy", "-count=1", "-run", "^TestFaultsModel$", "-timeout", "3h",
				fmt.Sprintf("-rapid.checks=%d", each), fmt.Sprintf("-rapid.seed=%d", r.seed+uint64(i)), "-rapid.nofailfile", "-v")
		})
	}
	wg.Wait()
	measured, reached := fmt.Sprintf("%d sequences, none", each*parts), true
	for i, out := range outs {
		switch {
		case errs[i] != nil:
			measured, reached = proc.LastBytes(out, 600), false
		case !strings.Contains(out, fmt.Sprintf("OK, passed %d tests", each)):
			measured, reached = "it did not run: "+proc.LastBytes(out, 300), false
		}
	}
	r.figure("publish, publish again, fetch, evict, delete, gc, crash, in random order against a model", "no divergence", reached, "%s", measured)
}

// checkFuzz runs every fuzz target of the repository for some time, as many side by side as there are processors.
func checkFuzz(r *run) {
	if r.quick {
		return
	}
	type target struct {
		pkg, name, measured string
		err                 error
	}
	packages, err := exec.CommandContext(r.ctx, "go", "list", "./...").Output()
	r.must(err)
	var targets []*target
	for _, pkg := range strings.Fields(string(packages)) {
		if strings.Contains(pkg, "/e2e") {
			continue
		}
		out, err := r.goTest(r.ctx, "-list", "^Fuzz", pkg)
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
		r.figure(strings.TrimPrefix(t.pkg, "conanproxy/")+" "+t.name, "no crash in "+r.fuzztime.String(), t.err == nil, "%s", t.measured)
	}
}

// fuzz runs one target with one worker and returns how many inputs it took, or the end of what it said.
func (r *run) fuzz(pkg, target string) (measured string, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.fuzztime+5*time.Minute)
	defer cancel()
	out, err := r.goTest(ctx, "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", r.fuzztime.String(), "-parallel", "1", pkg)
	// Go may report the end of the time as a failure without a finding, go.dev/issue/75804.
	if strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input written") {
		err = nil
	}
	if err != nil {
		return proc.LastBytes(out, 600), err
	}
	for _, line := range strings.Split(out, "\n") {
		if _, execs, ok := strings.Cut(line, "execs: "); ok {
			execs, _, _ = strings.Cut(execs, " ")
			measured = execs + " inputs, no crash"
		}
	}
	return measured, nil
}
