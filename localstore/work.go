package localstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// work is the validation and publication of one stage. Requests wait for it; its context is the
// store's.
type work struct {
	asked int           // how many requests wanted it, guarded by Store.mu
	done  chan struct{} // closed at the end
	err   error         // valid once done
}

// outcome is what became of a stage, for clients that ask again.
type outcome struct {
	err   error             // nil: published; else ErrInvalid
	files map[string]string // name → sha256 of what was validated
}

// publishStage validates and publishes a stage, or waits for the work that does so already, but not
// longer than the check timeout.
func (s *Store) publishStage(ctx context.Context, id string) error {
	w, err := s.work(id)
	if err != nil {
		return err
	}
	if err := s.wait(ctx, w.done); err != nil {
		return err
	}
	return w.err
}

// wait waits for work that goes on without the request: for at most the check timeout, so that no
// client takes the silence for the end.
func (s *Store) wait(ctx context.Context, done <-chan struct{}) error {
	timer := time.NewTimer(s.checkTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errBusy = fmt.Errorf("%w: the upload is still being checked; send again", conan.ErrConflict)

var errStopping = fmt.Errorf("%w: the server is stopping; send again", conan.ErrConflict)

// work returns the running work of a stage, or starts it.
func (s *Store) work(id string) (*work, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errStopping
	}
	if w := s.works[id]; w != nil {
		w.asked++
		return w, nil
	}
	w := &work{asked: 1, done: make(chan struct{})}
	s.works[id] = w
	s.busy.Go(func() { s.run(id, w) })
	return w, nil
}

// run repeats the validation until no request has asked since the stage was last read. A request
// that stored a file during a validation so gets an answer about that file.
func (s *Store) run(id string, w *work) {
	defer close(w.done)
	for first := true; ; first = false {
		s.mu.Lock()
		asked := w.asked
		s.mu.Unlock()

		err := s.validate(s.ctx, id)
		gone := errors.Is(err, index.ErrNoStage)
		switch v, _ := s.outcomes.Get(id); {
		case gone && !first && w.err == nil: // published by the round before
		case gone && first && v.files != nil && v.err == nil: // published by an earlier work
			w.err = nil
		default:
			w.err = err
		}

		s.mu.Lock()
		if w.asked == asked {
			delete(s.works, id)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// validate reads a stage and publishes it. If the stage changes meanwhile, it starts again.
func (s *Store) validate(ctx context.Context, id string) error {
	const rounds = 10
	for range rounds {
		err := s.validateOnce(ctx, id)
		if !errors.Is(err, index.ErrStageChanged) {
			return err
		}
	}
	return fmt.Errorf("%w: other uploads of the same revision are under way; send again", conan.ErrConflict)
}

func (s *Store) validateOnce(ctx context.Context, id string) error {
	c, err := s.readStage(ctx, id)
	if err != nil {
		return err
	}
	if v, ok := s.outcomes.Get(id); ok && v.err != nil && maps.Equal(v.files, c.sent()) {
		return v.err // the check of these very files may have taken long
	}
	err = s.validateCandidate(ctx, c)
	if err == nil || errors.Is(err, conan.ErrInvalid) && !c.checked {
		s.outcomes.Add(id, outcome{err: err, files: c.sent()})
	}
	return err
}
