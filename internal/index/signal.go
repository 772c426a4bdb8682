package index

import "sync"

// signal wakes everyone who waits for it. The zero value is ready.
type signal struct {
	mu    sync.Mutex
	raise chan struct{} // closed by the next Raise; nil: there is no waiter
}

// next returns a channel that the next raised signal closes. Take it before you look at what the
// signal is about.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raise == nil {
		s.raise = make(chan struct{})
	}
	return s.raise
}

// raised wakes the waiters.
func (s *signal) raised() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raise != nil {
		close(s.raise)
		s.raise = nil
	}
}
