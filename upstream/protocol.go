package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// dialect is one version of the protocol. Its errors are a *failure or the end of the caller's
// context.
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
	v1Memory         = time.Hour   // then a server is asked again whether it has learned v2
	foreignMemory    = time.Minute // how long something that is no Conan server is not asked again

	// nothing is a reference that no server has; searching for it costs a server little.
	nothing = "conanproxy-probe/0"
)

// detector finds out which dialect a server speaks, and remembers it until a failure makes that
// doubtful. Ping alone is not believed: some servers announce a dialect that they do not have, and
// things that are no Conan server answer ping too. A dialect is confirmed by its first answer of
// the right shape. Before that a "not found" may be that of a route, so it is checked.
type detector struct {
	v1, v2 dialect
	fixed  bool // by configuration

	pings, checks shared[dialect]

	mu        sync.Mutex
	current   dialect // nil: not known
	confirmed bool
	announced bool      // the server named its capabilities, so it is a Conan server
	until     time.Time // of current; zero means no end
	foreign   error     // why it is no Conan server, until then
}

func (d *detector) init(one, two dialect, protocol string) error {
	d.v1, d.v2 = one, two
	switch protocol {
	case "", "auto":
		return nil
	case "v1":
		d.current = one
	case "v2":
		d.current = two
	default:
		return fmt.Errorf("protocol %q is not auto, v1 or v2", protocol)
	}
	d.fixed, d.confirmed = true, true
	return nil
}

// reset makes the next question begin with a ping.
func (d *detector) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.fixed {
		d.current, d.confirmed = nil, false
	}
}

// remembered is the dialect that is known, or why there is none; both nil if a ping must tell.
func (d *detector) remembered(now time.Time) (dialect, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.until.IsZero() && !now.Before(d.until) {
		d.current, d.foreign, d.confirmed = nil, nil, false
	}
	return d.current, d.foreign
}

func (d *detector) remember(found dialect, announced bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current, d.announced, d.confirmed, d.foreign, d.until = found, announced, false, nil, time.Time{}
	if found == d.v1 {
		d.until = now.Add(v1Memory)
	}
}

// confirm notes that a dialect gave an answer of the right shape.
func (d *detector) confirm(found dialect, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fixed || d.current == found && d.confirmed {
		return
	}
	if d.current != found {
		d.current, d.until = found, now.Add(v1Memory)
	}
	d.confirmed = true
}

func (d *detector) isConfirmed(asked dialect) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.confirmed && d.current == asked
}

func (d *detector) isAnnounced() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.announced
}

// speaksV1 tells whether the server is known to speak v1.
func (d *detector) speaksV1() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current == d.v1
}

// ask asks in the dialect of the server. A "not found" is passed on only if it comes from a Conan
// server, and so is an answer of no use: something that answers whatever is asked is none.
func ask[T any](ctx context.Context, r *Remote, question func(dialect) (T, error)) (T, error) {
	var none T
	asked, err := r.dialect(ctx)
	if err != nil {
		return none, err
	}
	value, err := question(asked)
	if err == nil {
		r.detector.confirm(asked, r.now())
		return value, nil
	}
	var f *failure
	doubtful := isNotFound(err) || errors.As(err, &f) && f.kind == kindBadAnswer && !f.permanent
	if !doubtful || r.detector.isConfirmed(asked) {
		return none, err
	}
	right, checkErr := r.check(ctx)
	if checkErr != nil {
		return none, checkErr
	}
	if right == asked {
		return none, err
	}
	return question(right)
}

// dialect is the one to ask in. Concurrent callers share one ping, and none of them can end it.
func (r *Remote) dialect(ctx context.Context) (dialect, error) {
	d := &r.detector
	if found, err := d.remembered(r.now()); found != nil || err != nil {
		return found, err
	}
	return d.pings.do(ctx, "", r.sharedTimeout(), func(ctx context.Context) (dialect, error) {
		if found, err := d.remembered(r.now()); found != nil || err != nil {
			return found, err // another call has ended since the look above
		}
		return r.detect(ctx)
	})
}

// detect pings and remembers the dialect.
func (r *Remote) detect(ctx context.Context) (dialect, error) {
	capabilities, err := r.ping(ctx)
	if err != nil {
		return nil, tooSlow(context.WithoutCancel(ctx), err)
	}
	d := &r.detector
	found := d.v1
	if slices.Contains(words(capabilities), revisionsWord) {
		found = d.v2
	}
	r.log.Debug("upstream answered ping", zap.String("capabilities", clip(capabilities)))
	d.remember(found, len(words(capabilities)) > 0, r.now())
	return found, nil
}

// words are the items of a comma-separated list.
func words(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' })
}

// check finds the dialect by questions that every Conan server answers, once for all callers at a
// time.
func (r *Remote) check(ctx context.Context) (dialect, error) {
	d := &r.detector
	return d.checks.do(ctx, "", r.sharedTimeout(), func(ctx context.Context) (dialect, error) {
		told, err := d.remembered(r.now())
		if err != nil || told == nil || d.isConfirmed(told) {
			return told, err
		}
		found := d.v1
		if told == d.v1 {
			err = r.checkV1(ctx)
		} else {
			found, err = r.checkV2(ctx)
		}
		if err == nil {
			d.confirm(found, r.now())
		}
		return found, tooSlow(context.WithoutCancel(ctx), err)
	})
}

// checkV1 tells whether a server that announced no revisions is a Conan server at all. One that
// named other capabilities is, even if it has no search.
func (r *Remote) checkV1(ctx context.Context) error {
	speaks, err := r.speaks(ctx, r.detector.v1)
	if err != nil || speaks || r.detector.isAnnounced() {
		return err
	}
	r.detector.giveUp(r.now())
	r.log.Warn("upstream cannot be used", zap.Stringer("url", r.base), zap.String("reason", errNoConanServer.reason))
	return errNoConanServer
}

// checkV2 finds the dialect of a server that announced revisions. It lacks v2 only if it answers
// in v1 and not in v2; v1 is asked first, since a server without it says so at once, and a search
// may take long.
func (r *Remote) checkV2(ctx context.Context) (dialect, error) {
	d := &r.detector
	speaks, err := r.speaks(ctx, d.v1)
	if err != nil || !speaks {
		return d.v2, err
	}
	speaks, err = r.speaks(ctx, d.v2)
	if err != nil || speaks {
		return d.v2, err
	}
	return d.v1, nil
}

// speaks tells whether the server answers a search in a dialect. Errors say that it could not be
// asked.
func (r *Remote) speaks(ctx context.Context, d dialect) (bool, error) {
	var answer struct {
		Results *[]any `json:"results"`
	}
	err := r.object(ctx, d.searchPath(), url.Values{"q": {nothing}}, &answer)
	var f *failure
	if errors.As(err, &f) && (f.kind == kindNotFound || f.kind == kindBadAnswer || f.kind == kindForeign || f.refused) {
		return false, nil
	}
	return err == nil && answer.Results != nil, err
}

// giveUp remembers for a while that there is no Conan server.
func (d *detector) giveUp(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current, d.foreign, d.until = nil, errNoConanServer, now.Add(foreignMemory)
}

var errNoConanServer = &failure{
	kind: kindForeign, permanent: true,
	reason: "its URL is not a Conan remote; for Artifactory the URL ends in /api/conan/REPOSITORY",
}

// errWebPage is not remembered like errNoConanServer: a portal before the server may have answered.
// Users have to see it at once all the same, since the usual cause is a wrong URL.
var errWebPage = &failure{
	kind: kindForeign, permanent: true,
	reason: "answered ping with a web page, so its URL is not a Conan remote; for Artifactory the URL ends in /api/conan/REPOSITORY",
}

// ping asks for the capabilities of the server: without a login first, since a ping is open on most
// servers.
func (r *Remote) ping(ctx context.Context) (capabilities string, err error) {
	u, err := r.address(pingPath, nil)
	if err != nil {
		return "", err
	}
	release, err := r.connection(ctx, documentLane)
	if err != nil {
		return "", err
	}
	defer release()
	err = r.try(ctx, func(ctx context.Context) error {
		header := http.Header{"Accept-Encoding": {"identity"}}
		var locked bool
		capabilities, locked, err = r.pingOnce(ctx, request{url: u, header: header, open: true})
		if locked && r.tokens.user != "" {
			capabilities, _, err = r.pingOnce(ctx, request{url: u, header: header})
		}
		r.count(err)
		return err
	})
	return capabilities, err
}

// pingOnce asks once. Any status with capabilities is an answer, and so is a 2xx without them; some
// servers send the header empty with a 401. locked tells that a login is wanted first.
func (r *Remote) pingOnce(ctx context.Context, req request) (capabilities string, locked bool, err error) {
	resp, err := r.send(ctx, req)
	if err != nil {
		return "", false, err
	}
	defer discard(resp.Body)
	capabilities = strings.Join(resp.Header.Values(capabilityHeader), ",")
	if len(words(capabilities)) > 0 {
		return capabilities, false, nil
	}
	if resp.StatusCode/100 != 2 {
		f := r.classifyStatus(resp, expectObject)
		if isNotFound(f) {
			f = errNoConanServer
		}
		return "", resp.StatusCode == http.StatusUnauthorized, f
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if err != nil {
		return "", false, r.classifyBody(ctx, err)
	}
	if looksLikeHTML(head) {
		return "", false, errWebPage
	}
	return "", false, nil
}
