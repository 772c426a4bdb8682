package api

import (
	"fmt"
	"sync"
)

// Bounds of the requests that wait for something to happen.
const (
	mostWaiting   = 256
	mostWaitingOf = 32 // of one caller; anonymous callers count as one
)

// waiting bounds the requests that wait. The zero value is ready.
type waiting struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by the name of the caller
}

// enter counts a request until leave is called; ErrTooMany if there are too many.
func (w *waiting) enter(caller string) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= mostWaiting || w.of[caller] >= mostWaitingOf {
		return nil, fmt.Errorf("%w: at most %d requests may wait, %d of one caller", ErrTooMany, mostWaiting, mostWaitingOf)
	}
	if w.of == nil {
		w.of = make(map[string]int)
	}
	w.all++
	w.of[caller]++
	return func() { w.leave(caller) }, nil
}

func (w *waiting) leave(caller string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.of[caller]--; w.of[caller] == 0 {
		delete(w.of, caller)
	}
}
