package api

import (
	"errors"
	"fmt"
	"testing"
)

func TestWaitingIsBounded(t *testing.T) {
	var w waiting
	enter := func(caller string) func() {
		leave, err := w.enter(caller)
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	leave := enter("ann")
	for range mostWaitingOf - 1 {
		enter("ann")
	}
	const says = "too many wait already: at most 256 requests may wait, 32 of one caller"
	if _, err := w.enter("ann"); !errors.Is(err, ErrTooMany) || err.Error() != says {
		t.Errorf("one too many of ann: %v", err)
	}
	leave()
	enter("ann")
	for i := mostWaitingOf; i < mostWaiting; i++ {
		leave = enter(fmt.Sprint(i))
	}
	if _, err := w.enter("bob"); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	leave()
	enter("bob")
	if len(w.of) != mostWaiting-mostWaitingOf+1 {
		t.Errorf("%d callers are counted", len(w.of))
	}
}
