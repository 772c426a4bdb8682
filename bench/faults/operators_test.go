package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// operation is one kind of change by the operators' API.
type operation struct {
	name   string
	before []string // what is done before the change that the server is killed in

	undone, done places // where the packages are without the change, and after it

	each      bool             // every package is changed by itself, and not all of them at once
	retention harness.Settings // of the store dev
}

// places are where a package can be.
type places struct{ dev, release, trash bool }

var operations = []operation{
	{name: "promote", undone: places{dev: true}, done: places{dev: true, release: true}},
	{name: "remove", undone: places{dev: true}, done: places{trash: true}},
	{name: "restore", before: []string{"remove"}, undone: places{trash: true}, done: places{dev: true}},
	{
		name: "retention", undone: places{dev: true}, done: places{trash: true}, each: true,
		retention: harness.Settings{"rules": []harness.Settings{{"pattern": "*", "unused_for": "1ns"}}},
	},
}

// operating kills a server in operations, each of which is about several packages.
type operating struct {
	*run
	operation
	s    *server
	sets []conantest.Set // of this round
	half []string        // a part was done
	lost []string        // what was acknowledged was not done, or undone
	acks int             // acknowledged
	took time.Duration   // of the last change that was waited for
	cuts int             // of them killed while they were under way, and not acknowledged
}

// operate starts a server for an operation.
func (r *run) operate(op operation) *operating {
	dev := harness.Settings{"name": "dev"}
	if op.retention != nil {
		dev["retention"] = op.retention
	}
	s := r.newServer(settings{
		stores: []harness.Settings{dev, {"name": "release"}}, upstreams: []harness.Settings{}, auth: harness.Settings{"admin": []string{user}},
	})
	s.start()
	s.login()
	return &operating{run: r, operation: op, s: s}
}

// TestOperators kills the server while it promotes, removes, restores and runs retention. Each
// change happens as a whole or not at all; with retention that of each reference.
func TestOperators(t *testing.T) {
	r := newRun(t)
	for _, op := range operations {
		o := r.operate(op)
		for round := range *rounds {
			o.once(round)
		}
		o.s.kill()
		if out, err := o.s.command("fsck"); err != nil {
			o.lost = append(o.lost, "fsck: "+out)
		}
		r.none(fmt.Sprintf("kill -9 during %s, %d rounds, %d of them acknowledged, %d cut", op.name, *rounds, o.acks, o.cuts),
			"0 acknowledged losses, 0 half done", fmt.Sprintf("%d, %d", len(o.lost), len(o.half)), append(o.lost, o.half...))
		if *full && (o.acks == 0 || o.cuts == 0) {
			r.Errorf("%s: %d acknowledged and %d cut; each has to happen", op.name, o.acks, o.cuts)
		}
	}
}

// once publishes some packages, kills the server during the operation, and looks what became of it.
func (o *operating) once(round int) {
	o.publishSome(round)
	for _, name := range o.before {
		if err := o.change(o.Context(), name, round); err != nil {
			o.Fatalf("a server that is well refused: %v", err)
		}
	}
	acked := o.kill(round)
	o.s.start()
	o.judge(acked, round)
}

// publishSome publishes the packages of a round.
func (o *operating) publishSome(round int) {
	const packages = 4
	o.sets = nil
	for i := range packages {
		recipe := conantest.Recipe(fmt.Sprintf("o%dx%d", round, i), "1.0", conantest.File("data.yml", fmt.Sprint(*seed)))
		pkg := conantest.Package(recipe, conantest.Random(fmt.Sprintf("lib/%d-%d-%d", *seed, round, i), 1<<10))
		for _, set := range []conantest.Set{recipe, pkg} {
			o.must(publish(o.Context(), o.s.url("/r/dev"), o.s.token, set))
			o.sets = append(o.sets, set)
		}
	}
}

// kill does the operation, kills the server meanwhile or, in every second round, right after it,
// and tells whether it was acknowledged. Meanwhile is at some moment of the time that the last one
// took.
func (o *operating) kill(round int) bool {
	ctx, cancel := context.WithCancel(o.Context())
	defer cancel()
	var acked bool
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		acked = o.change(ctx, o.name, round) == nil
	}()
	if round%2 == 0 {
		<-done // what was just acknowledged has to stay
		o.took = time.Since(begun)
		o.s.kill()
		return acked
	}
	select {
	case <-done:
	case <-time.After(time.Duration(o.random.Int64N(int64(o.took)))):
	}
	o.s.kill()
	cancel()
	<-done
	if !acked {
		o.cuts++
	}
	return acked
}

// change calls the API about the packages of a round.
func (o *operating) change(ctx context.Context, name string, round int) error {
	a := ask(ctx, http.MethodPost, o.s.url("/api/v1/"+name), o.body(name, round), o.s.token)
	if a.err != nil || a.status != http.StatusOK {
		return fmt.Errorf("%s: %s", name, a)
	}
	return nil
}

// body is that of a call about the packages of a round.
func (o *operating) body(name string, round int) []byte {
	fields := map[string]any{"in": "dev"}
	if name == "promote" {
		fields = map[string]any{"from": "dev", "to": "release"}
	}
	if name != "retention" {
		fields["selection"] = map[string]any{"patterns": []string{fmt.Sprintf("o%dx*/*", round)}}
	}
	body, err := json.Marshal(fields)
	o.must(err)
	return body
}

// judge looks for every package of the round in all places.
func (o *operating) judge(acked bool, round int) {
	trash := o.trash(round)
	seen := map[places]int{}
	var all []places // of a recipe and of its package by turns
	for _, set := range o.sets {
		at := places{dev: o.whole("dev", set), release: o.whole("release", set), trash: trash[set.Revision.String()]}
		seen[at]++
		all = append(all, at)
	}
	if acked {
		o.acks++
	}
	switch {
	case seen[o.done] == len(o.sets):
	case acked:
		o.lost = append(o.lost, fmt.Sprintf("%s was acknowledged: %+v", o.name, seen))
	case o.each && seen[o.undone]+seen[o.done] == len(o.sets) && inPairs(all):
	case seen[o.undone] != len(o.sets):
		o.half = append(o.half, fmt.Sprintf("%s of %d revisions: %+v", o.name, len(o.sets), seen))
	}
}

// inPairs tells whether each package is where its recipe is.
func inPairs(all []places) bool {
	for i := 0; i < len(all); i += 2 {
		if all[i] != all[i+1] {
			return false
		}
	}
	return true
}

// whole tells whether a store has a package; a part of it, or other bytes, is trouble.
func (o *operating) whole(store string, set conantest.Set) bool {
	s, text := look(o.Context(), o.s.url("/r/"+store), set)
	if s == half || s == wrong {
		o.half = append(o.half, text)
	}
	return s == whole
}

// trash are the revisions of a round in the trash of dev.
func (o *operating) trash(round int) map[string]bool {
	a := ask(o.Context(), http.MethodGet, o.s.url("/api/v1/trash?in=dev&limit=1000"), nil, o.s.token)
	var page struct{ Lines []struct{ Revision string } }
	if a.err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &page) != nil {
		o.Fatalf("list the trash: %s", a)
	}
	in := map[string]bool{}
	for _, line := range page.Lines {
		if strings.HasPrefix(line.Revision, fmt.Sprintf("o%dx", round)) {
			in[line.Revision] = true
		}
	}
	return in
}
