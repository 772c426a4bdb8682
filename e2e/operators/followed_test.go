package operators

import (
	"bufio"
	"conanproxy/e2e/e2etest"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// followed is a running `conanproxy changes --follow`.
type followed struct {
	t     testing.TB
	lines chan changed
}

// changed is a line of it.
type changed struct{ Action, Member, Revision string }

func (c changed) in() string { return c.Action + " " + c.Member }

// followChanges follows what comes after the newest change.
func followChanges(t testing.TB, o e2etest.Operator) *followed {
	t.Helper()
	cursor := strings.Fields(o.Must("changes"))[1]
	cmd := o.Command("changes", "--follow", "--json", "--after", cursor)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &followed{t, make(chan changed, 100)}
	go func() {
		defer close(f.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var c changed
			if json.Unmarshal(lines.Bytes(), &c) == nil {
				f.lines <- c
			}
		}
		_ = cmd.Wait() // the end of the test kills it
	}()
	return f
}

// next waits for the next line.
func (f *followed) next() changed {
	f.t.Helper()
	select {
	case c, ok := <-f.lines:
		if !ok {
			f.t.Fatal("the command ended")
		}
		return c
	case <-time.After(30 * time.Second):
		f.t.Fatal("no change came")
	}
	return changed{}
}
