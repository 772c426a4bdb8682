package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// dialect is one version of the protocol. Its errors are a *failure or the end of the caller's context.
type dialect interface {
	revisions(ctx context.Context, rev conan.Revision, latestOnly bool) ([]conan.RevisionTime, error)
	snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error)
	open(ctx context.Context, rev conan.Revision, name string) (*conan.Download, error)
	packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error)
	searchPath() string
}

const (
	pingPath         = "/v1/ping" // also of servers that otherwise speak v2 only
	capabilityHeader = "X-Conan-Server-Capabilities"
	revisionsWord    = "revisions"
	v1Memory         = time.Hour // then a server is asked again whether it has learned v2
)

// detector finds out which dialect a server speaks, and remembers it until a failure makes that doubtful.
type detector struct {
	fixed dialect // nil means: ask
	v1    dialect
	v2    dialect

	pings shared[dialect]
	mu    sync.Mutex
	known dialect
	until time.Time // zero means no end
}

// forget makes the next question begin with a ping.
func (d *detector) forget() {
	d.mu.Lock()
	d.known = nil
	d.mu.Unlock()
}

func (d *detector) remembered(now time.Time) dialect {
	if d.fixed != nil {
		return d.fixed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known != nil && (d.until.IsZero() || now.Before(d.until)) {
		return d.known
	}
	return nil
}

// speak is the dialect to ask in. Concurrent callers share one ping, and none of them can end it.
func (r *Remote) speak(ctx context.Context) (dialect, error) {
	d := &r.detector
	if known := d.remembered(r.now()); known != nil {
		return known, nil
	}
	return d.pings.do(ctx, "", r.patience(), func(ctx context.Context) (dialect, error) {
		if known := d.remembered(r.now()); known != nil {
			return known, nil // another call has ended since the look above
		}
		return r.detect(ctx)
	})
}

// detect pings and remembers what it learned.
func (r *Remote) detect(ctx context.Context) (dialect, error) {
	capabilities, err := r.ping(ctx)
	if err != nil {
		return nil, tooSlow(context.WithoutCancel(ctx), err)
	}
	d := &r.detector
	found, until := d.v1, r.now().Add(v1Memory)
	for _, word := range strings.Split(capabilities, ",") {
		if strings.TrimSpace(word) == revisionsWord {
			found, until = d.v2, time.Time{}
		}
	}
	r.log.Info("upstream answered ping", zap.String("capabilities", clip(capabilities)), zap.Bool("revisions", found == d.v2))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known, d.until = found, until
	return found, nil
}

// ping asks for the capabilities of the server: without a login first, since a ping is open on most servers.
func (r *Remote) ping(ctx context.Context) (capabilities string, err error) {
	u, err := r.address(pingPath, nil)
	if err != nil {
		return "", nonsense(err.Error())
	}
	release, err := r.connection(ctx, documentLane)
	if err != nil {
		return "", err
	}
	defer release()
	err = r.try(ctx, func(ctx context.Context) error {
		header := http.Header{"Accept-Encoding": {"identity"}}
		var locked bool
		capabilities, locked, err = r.pingOnce(ctx, request{method: http.MethodGet, url: u, header: header, open: true})
		if locked && r.tokens.user != "" {
			capabilities, _, err = r.pingOnce(ctx, request{method: http.MethodGet, url: u, header: header})
		}
		r.count(err)
		return err
	})
	return capabilities, err
}

// pingOnce judges a ping: any status with the capability header is an answer, and so is a 2xx without it.
// locked tells that a login is wanted first.
func (r *Remote) pingOnce(ctx context.Context, req request) (capabilities string, locked bool, err error) {
	resp, err := r.send(ctx, req)
	if err != nil {
		return "", false, err
	}
	defer discard(resp.Body)
	if values, ok := resp.Header[capabilityHeader]; ok {
		return strings.Join(values, ","), false, nil
	}
	if resp.StatusCode/100 != 2 {
		f := classifyStatus(resp, expectObject, r.now())
		if isNotFound(f) {
			f = bad("%s", fmt.Sprintf("there is no Conan server at its URL (ping was answered with %d)", resp.StatusCode))
		}
		return "", resp.StatusCode == http.StatusUnauthorized, f
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if err != nil {
		return "", false, classifyBody(ctx, err, r.timeout)
	}
	if looksLikeHTML(head) {
		return "", false, bad("answered ping with a web page")
	}
	return "", false, nil
}
