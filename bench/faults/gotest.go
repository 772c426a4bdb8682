package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

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

// checkModel runs the property test of the rooms together.
func checkModel(r *run) {
	out, err := r.goTest(r.ctx, "./cmd/conanproxy", "-count=1", "-run", "^TestFaultsModel$", "-timeout", "3h", fmt.Sprintf("-rapid.checks=%d", r.checks), fmt.Sprintf("-rapid.seed=%d", r.seed), "-rapid.nofailfile", "-v")
	measured := fmt.Sprintf("%d sequences, none", r.checks)
	if err != nil {
		measured = proc.LastBytes(out, 600)
	} else if !strings.Contains(out, fmt.Sprintf("OK, passed %d tests", r.checks)) {
		measured, err = "it did not run: "+proc.LastBytes(out, 300), fmt.Errorf("not run")
	}
	r.figure("publish, publish again, fetch, evict, delete, gc, crash, in random order against a model", "no divergence", err == nil, "%s", measured)
}

// checkFuzz runs every fuzz target of the repository for some time.
func checkFuzz(r *run) {
	if r.quick {
		return
	}
	packages, err := exec.CommandContext(r.ctx, "go", "list", "./...").Output()
	r.must(err)
	for _, pkg := range strings.Fields(string(packages)) {
		if strings.Contains(pkg, "/e2e") {
			continue
		}
		out, err := r.goTest(r.ctx, "-list", "^Fuzz", pkg)
		r.must(err)
		for _, target := range strings.Fields(out) {
			if !strings.HasPrefix(target, "Fuzz") {
				continue
			}
			r.fuzz(pkg, target)
		}
	}
}

func (r *run) fuzz(pkg, target string) {
	ctx, cancel := context.WithTimeout(r.ctx, r.fuzztime+5*time.Minute)
	defer cancel()
	out, err := r.goTest(ctx, "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", r.fuzztime.String(), pkg)
	measured := "no crash"
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "execs:") {
			_, measured, _ = strings.Cut(line, "execs: ")
			measured = "no crash, " + measured
		}
	}
	// Go may report the end of the time as a failure without a finding, go.dev/issue/75804.
	if strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input written") {
		err = nil
	}
	if err != nil {
		measured = proc.LastBytes(out, 600)
	}
	r.figure(strings.TrimPrefix(pkg, "conanproxy/")+" "+target, "no crash in "+r.fuzztime.String(), err == nil, "%s", measured)
}
