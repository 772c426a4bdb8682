package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Work is how a call tells its runner about itself.
type Work struct {
	runner *Runner
	claim  conan.Claim
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	written time.Time       // when progress was last written
	pending json.RawMessage // progress that is not written yet
}

// progressEvery is how often progress is written at most.
const progressEvery = time.Second

// Progress records how far the job is: at once, or with the next call that comes a second later, or
// at the end. If the job is no longer this runner's, its context ends.
func (w *Work) Progress(ctx context.Context, progress any) {
	text, err := json.Marshal(progress)
	if err != nil {
		return // a struct of numbers is always JSON
	}
	w.mu.Lock()
	w.pending = text
	due := time.Since(w.written) >= progressEvery
	w.mu.Unlock()
	if due {
		w.write(context.WithoutCancel(ctx))
	}
}

// write writes the progress that is not written yet.
func (w *Work) write(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending == nil {
		return
	}
	err := w.runner.index.JobProgress(ctx, w.claim, w.pending)
	w.pending, w.written = nil, time.Now()
	if errors.Is(err, index.ErrJobLost) {
		w.cancel(err)
	}
	w.runner.changed.Raise()
}

// Expect records the answer that the call will have given once its one change is made.
func (w *Work) Expect(ctx context.Context, result any) error {
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return w.runner.index.ExpectJobResult(ctx, w.claim, text)
}
