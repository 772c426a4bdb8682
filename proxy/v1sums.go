package proxy

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/proxy/resolver"
)

// A v1 snapshot needs the md5 of every file as it is stored, which a server of the v2 protocol
// does not tell: the files that lack one are fetched, all at once, and the answer waits.

const (
	sumsTimeout = 45 * time.Second // clients give up after 60 s of silence
	sumsRetry   = 5 * time.Second
	sumsLimit   = time.Hour // bounds a fetch that no request waits for any more
)

// sumFetches are the fetches under way. A request that cannot wait for its fetch leaves it running,
// and finds it again, or what it stored, when the client asks again.
type sumFetches struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	running map[sumsKey]*sumFetch
}

// sumsKey is what a fetch is for. Views, and in them callers with other rights, may find one
// revision at different members, whose archives differ.
type sumsKey struct {
	settings   *Settings
	view       string
	generation conan.Generation
	readable   string // request.readableSet
	revision   conan.Revision
}

// sumFetch is written by its own goroutine until done is closed.
type sumFetch struct {
	done chan struct{}
	sums map[string]string
	err  error
}

func newSumFetches() *sumFetches {
	ctx, cancel := context.WithCancel(context.Background())
	return &sumFetches{ctx: ctx, cancel: cancel, running: make(map[sumsKey]*sumFetch)}
}

// close ends all fetches.
func (d *sumFetches) close() { d.cancel() }

// sumsOf maps the names of the files to their md5 sums, fetching those files that lack one.
func (d *sumFetches) sumsOf(ctx context.Context, key sumsKey, reader resolver.Reader, files conan.Snapshot) (map[string]string, error) {
	sums := make(map[string]string, len(files))
	var unknown []string
	for _, f := range files {
		if f.MD5 == "" {
			unknown = append(unknown, f.Name)
		}
		sums[f.Name] = f.MD5
	}
	if len(unknown) == 0 {
		return sums, nil
	}
	fetch := d.start(ctx, key, reader, unknown)
	timeout := time.NewTimer(sumsTimeout)
	defer timeout.Stop()
	select {
	case <-fetch.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, &refusal{
			status:     http.StatusServiceUnavailable,
			text:       fmt.Sprintf("the files of %s are still being fetched, because Conan 1 needs their md5 sums; try again", key.revision),
			retryAfter: sumsRetry,
		}
	}
	if fetch.err != nil {
		return nil, fetch.err
	}
	for _, name := range unknown {
		sums[name] = fetch.sums[name]
	}
	return sums, nil
}

// start finds the fetch for key or starts it.
func (d *sumFetches) start(ctx context.Context, key sumsKey, reader resolver.Reader, names []string) *sumFetch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if fetch, ok := d.running[key]; ok {
		return fetch
	}
	fetch := &sumFetch{done: make(chan struct{})}
	d.running[key] = fetch
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), sumsLimit)
	stop := context.AfterFunc(d.ctx, cancel)
	go func() {
		defer stop()
		defer cancel()
		fetch.sums, fetch.err = fetchSums(own, reader, key.revision, names)
		d.mu.Lock()
		delete(d.running, key)
		d.mu.Unlock()
		close(fetch.done)
	}()
	return fetch
}

// fetchSums fetches all files at once: the fills of a revision then overlap.
func fetchSums(ctx context.Context, reader resolver.Reader, rev conan.Revision, names []string) (map[string]string, error) {
	sums, errs := make([]string, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { sums[i], errs[i] = fetchSum(ctx, reader, rev, name) })
	}
	all.Wait()
	if err := cmp.Or(errs...); err != nil { // one sentence is enough for the client
		return nil, err
	}
	found := make(map[string]string, len(names))
	for i, name := range names {
		found[name] = sums[i]
	}
	return found, nil
}

// fetchSum waits for a file to be stored and verified, and returns its md5.
func fetchSum(ctx context.Context, reader resolver.Reader, rev conan.Revision, name string) (sum string, err error) {
	defer func() {
		if p := recover(); p != nil { // here it would end the process, not one request
			err = fmt.Errorf("panic while fetching %s of %s: %v", name, rev, p)
		}
	}()
	opened, err := reader.Open(ctx, rev, name)
	if errors.Is(err, conan.ErrNotFound) {
		// The list says it is there: "not found" would claim that the whole revision is absent.
		return "", refuse(statusShown, "%s of %s is listed but is not there any more; trying again does not help", name, rev)
	}
	if err != nil {
		return "", err
	}
	f, err := verified(ctx, opened.Value)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if f.MD5 != "" {
		return f.MD5, nil
	}
	h := md5.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash %s of %s: %w", name, rev, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
