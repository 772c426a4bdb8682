package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// operation is one kind of change by the operators' API.
type operation struct {
	name   string
	before []string // what is done before the change that the server is killed in
	store  string   // where it is seen
	there  bool     // whether the packages are there afterwards
}

var operations = []operation{
	{name: "promote", store: "release", there: true},
	{name: "remove", store: "dev", there: false},
	{name: "restore", before: []string{"remove"}, store: "dev", there: true},
}

// operating kills a server in operations, each of which is about several packages.
type operating struct {
	*run
	operation
	s    *server
	sets []conantest.Set // of this round
	half []string        // a part was done
	lost []string        // what was acknowledged was not done, or undone
	acks int
}

// TestOperators kills the server while it promotes, removes and restores. Each change happens as a whole or not at all.
func TestOperators(t *testing.T) {
	r := newRun(t)
	for _, op := range operations {
		o := &operating{run: r, operation: op}
		o.s = r.newServer(settings{stores: []harness.Settings{{"name": "dev"}, {"name": "release"}}, upstreams: []harness.Settings{}})
		o.s.start()
		o.s.login()
		for round := range *rounds {
			o.once(round)
		}
		o.s.kill()
		if out, err := o.s.command("fsck"); err != nil {
			o.lost = append(o.lost, "fsck: "+out)
		}
		r.none(fmt.Sprintf("kill -9 during %s, %d rounds, %d of them acknowledged", op.name, *rounds, o.acks),
			"0 acknowledged losses, 0 half done", fmt.Sprintf("%d, %d", len(o.lost), len(o.half)), append(o.lost, o.half...))
	}
}

// once publishes some packages, kills the server during the operation, and looks what became of it.
func (o *operating) once(round int) {
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
	for _, name := range o.before {
		if err := o.change(o.Context(), name, round); err != nil {
			o.Fatalf("a server that is well refused: %v", err)
		}
	}
	acked := o.kill(round)
	o.s.start()
	o.judge(acked)
}

// kill does the operation, kills the server meanwhile, and tells whether it was acknowledged.
func (o *operating) kill(round int) bool {
	ctx, cancel := context.WithCancel(o.Context())
	defer cancel()
	var acked bool
	var done sync.WaitGroup
	done.Go(func() { acked = o.change(ctx, o.name, round) == nil })
	if round%2 == 1 {
		done.Wait() // what was just acknowledged has to stay
	} else {
		time.Sleep(time.Duration(o.random.Int64N(int64(4 * time.Millisecond))))
	}
	o.s.kill()
	cancel()
	done.Wait()
	return acked
}

// change calls the API about the packages of a round.
func (o *operating) change(ctx context.Context, name string, round int) error {
	body, err := json.Marshal(map[string]any{"selection": map[string]any{"patterns": []string{fmt.Sprintf("o%dx*/*", round)}}})
	o.must(err)
	stores := `{"in": "dev", `
	if name == "promote" {
		stores = `{"from": "dev", "to": "release", `
	}
	body = append([]byte(stores), bytes.TrimPrefix(body, []byte("{"))...)
	a := ask(ctx, http.MethodPost, o.s.url("/api/v1/"+name), body, o.s.token)
	if a.err != nil || a.status != http.StatusOK {
		return fmt.Errorf("%s: %s", name, a)
	}
	return nil
}

// judge looks at every package of the round.
func (o *operating) judge(acked bool) {
	seen := map[state]int{}
	for _, set := range o.sets {
		s, text := look(o.Context(), o.s.url("/r/"+o.store), set)
		if s == half || s == wrong {
			o.half = append(o.half, text)
		}
		seen[s]++
	}
	want := absent
	if o.there {
		want = whole
	}
	if len(seen) > 1 {
		o.half = append(o.half, fmt.Sprintf("%s of %d revisions: states %v", o.name, len(o.sets), seen))
	}
	if acked {
		o.acks++
		if seen[want] != len(o.sets) {
			o.lost = append(o.lost, fmt.Sprintf("%s was acknowledged: states %v", o.name, seen))
		}
	}
}
