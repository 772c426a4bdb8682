package upstream

import (
	"context"
	"errors"
	"io"
	"time"
)

var errSilence = errors.New("silence")

// watchdog ends an exchange that stands still. A transfer may last as long as it likes; only
// the time spent waiting for upstream counts, not the time of a slow reader.
type watchdog struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	silence time.Duration
	timer   *time.Timer
}

// watch starts watching; its context is the one to ask with.
func watch(ctx context.Context, silence time.Duration) *watchdog {
	w := &watchdog{silence: silence}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(silence, func() { w.cancel(errSilence) })
	return w
}

func (w *watchdog) awake()    { w.timer.Reset(w.silence) }
func (w *watchdog) asleep()   { w.timer.Stop() }
func (w *watchdog) released() { w.timer.Stop(); w.cancel(nil) }

// cause replaces the error of an exchange that the watchdog ended.
func (w *watchdog) cause(err error) error {
	if err != nil && err != io.EOF && context.Cause(w.ctx) == errSilence {
		return errSilence
	}
	return err
}

const (
	discardMost    = 16 << 10
	discardSilence = time.Second
)

// hurry bounds the wait for a body that is of little use.
func hurry(body io.ReadCloser) {
	if watched, ok := body.(*watchedBody); ok {
		watched.dog.silence = min(watched.dog.silence, discardSilence)
	}
}

// discard reads a little of a body that is not needed, so that its connection can be used again,
// and closes it.
func discard(body io.ReadCloser) {
	hurry(body)
	io.CopyN(io.Discard, body, discardMost)
	body.Close()
}

// watchedBody is a body under a watchdog.
type watchedBody struct {
	io.ReadCloser
	dog      *watchdog
	received func(bytes int) // counts
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.dog.awake()
	n, err := b.ReadCloser.Read(p)
	b.dog.asleep()
	b.received(n)
	return n, b.dog.cause(err)
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.dog.released()
	return err
}
