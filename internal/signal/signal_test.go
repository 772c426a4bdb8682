package signal

import "testing"

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Raise wakes all who wait, and only those: a later one waits for the next.
func TestRaiseWakesThoseWhoWait(t *testing.T) {
	var s Signal
	s.Raise() // without a waiter
	one, other := s.Next(), s.Next()
	if isClosed(one) || isClosed(other) {
		t.Error("a waiter is woken by what was before it")
	}
	s.Raise()
	later := s.Next()
	if !isClosed(one) || !isClosed(other) || isClosed(later) {
		t.Error("not exactly those who waited were woken")
	}
	s.Raise()
	if !isClosed(later) {
		t.Error("the later waiter is not woken")
	}
}
