// Package signal wakes goroutines that wait for something to change.
package signal

import "sync"

// Signal wakes everyone who waits for it. The zero value is ready, and it is safe for concurrent
// use.
type Signal struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next Raise; nil: there is no waiter
}

// Next returns a channel that the next Raise closes. Take it before you look at what the signal is
// about.
func (s *Signal) Next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// Raise wakes those who wait.
func (s *Signal) Raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
