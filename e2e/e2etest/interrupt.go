package e2etest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// KillDuring starts a command and kills the client when a part of the body of the named file has
// gone through.
func KillDuring(t testing.TB, front *Recorder, c *Client, file string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	reached := make(chan struct{})
	front.InterceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, file) {
			r.Body = &StallingBody{ReadCloser: r.Body, Left: 64 << 10, Gone: r.Context().Done(), Reached: func() {
				once.Do(func() { close(reached) })
			}}
		}
		return false
	})
	cmd := c.Command(ctx, args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-reached:
	case err := <-ended:
		t.Fatalf("conan %s ended before it sent %s: %v\n%s", strings.Join(args, " "), file, err, out.String())
	}
	cmd.Process.Kill()
	if err := <-ended; err == nil {
		t.Fatalf("conan %s succeeded although it was killed", strings.Join(args, " "))
	}
}

// StallingBody lets a number of bytes through and then waits for the client to go.
type StallingBody struct {
	io.ReadCloser
	Left    int
	Gone    <-chan struct{}
	Reached func()
}

func (b *StallingBody) Read(p []byte) (int, error) {
	if b.Left <= 0 {
		b.Reached()
		<-b.Gone
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.Left)])
	b.Left -= n
	return n, err
}
