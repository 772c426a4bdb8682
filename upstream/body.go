package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

const (
	startSize     = 64       // bytes looked at before the first is handed out
	maxResumes    = 5        // in a row, without much progress in between
	maxResumesAll = 50       // of one transfer
	muchProgress  = 16 << 20 // bytes that make a new row
)

// place tells where the bytes of a file are; again means that the last place did not work any more.
// It returns errNotThere if there is no other one.
type place func(ctx context.Context, again bool) (*url.URL, error)

// body is the content of a file. When the connection is cut or falls silent it continues from where it was,
// if it is certain that the rest belongs to the same file.
type body struct {
	r       *Remote
	ctx     context.Context
	name    string
	where   place
	release func() // gives the connection's place back; nil once done

	resp    *http.Response
	head    []byte // read ahead by the check of the beginning
	size    int64  // -1 = unknown
	offset  int64  // bytes handed out
	etag    string // as it was sent
	lastMod string
	digests conan.FileInfo
	row     int   // resumes since much progress
	rowAt   int64 // offset at its beginning
	resumes int
	failed  error
}

// transfer asks for a file and checks its beginning. The body lives as long as ctx; its Close must be called.
func (r *Remote) transfer(ctx context.Context, name string, where place) (*body, error) {
	release, err := r.connection(ctx, fileLane)
	if err != nil {
		return nil, err
	}
	b := &body{r: r, ctx: ctx, name: name, where: where, release: release}
	err = r.try(ctx, func(ctx context.Context) error {
		err := b.begin(ctx)
		r.count(err)
		return err
	})
	if err != nil {
		release()
		return nil, err
	}
	return b, nil
}

// begin makes the first request.
func (b *body) begin(ctx context.Context) error {
	resp, err := b.ask(ctx, http.Header{"Accept-Encoding": {"identity"}}, expectFile)
	if err != nil {
		return err
	}
	head, err := readStart(resp.Body)
	if err != nil {
		resp.Body.Close()
		return classifyBody(ctx, err, b.r.timeout)
	}
	if f := checkStart(b.name, head); f != nil {
		discard(resp.Body)
		return f
	}
	b.resp, b.head, b.size = resp, head, resp.ContentLength
	b.etag, b.lastMod = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	b.digests = checksums(b.name, resp.Header)
	b.digests.Size = b.size
	return nil
}

// readStart reads the first bytes; fewer, without an error, if the body has no more.
func readStart(body io.Reader) ([]byte, error) {
	head := make([]byte, startSize)
	for n := 0; ; {
		got, err := body.Read(head[n:])
		n += got
		if err == io.EOF || err == nil && n == len(head) {
			return head[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// ask sends one request for the file and judges it. A place that answers 403 or 404 is asked
// for again once: signed URLs die early.
func (b *body) ask(ctx context.Context, header http.Header, want expect) (*http.Response, error) {
	var refused *failure
	for again := false; ; again = true {
		u, err := b.where(ctx, again)
		if isNotFound(err) && refused != nil {
			return nil, refused
		}
		if err != nil {
			return nil, err
		}
		resp, err := b.r.send(ctx, request{method: http.MethodGet, url: u, header: header})
		if err != nil {
			return nil, err
		}
		if refused = classify(resp, want, b.name, b.r.now()); refused == nil {
			return resp, nil
		}
		discard(resp.Body)
		stale := resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound
		if again || !stale {
			return nil, refused
		}
	}
}

// Read hands out the next bytes. Errors other than io.EOF are ErrUnavailable or the end of the context.
func (b *body) Read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		b.offset += int64(n)
		return n, nil
	}
	for {
		n, err := b.resp.Body.Read(p)
		b.offset += int64(n)
		switch {
		case b.size >= 0 && b.offset > b.size:
			return 0, b.fail(bad("sent more bytes than it announced"))
		case err == io.EOF && (b.size < 0 || b.offset == b.size):
			b.failed = io.EOF
			b.done()
			return n, io.EOF
		case n > 0:
			return n, nil
		case err == nil:
			continue
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
		if err := b.resume(classifyBody(b.ctx, err, b.r.timeout)); err != nil {
			return 0, b.fail(err)
		}
	}
}

// Close ends the transfer. It may be called more than once.
func (b *body) Close() error {
	if b.failed == nil {
		b.failed = errors.New("read after close")
	}
	b.done()
	return nil
}

// done gives the connection and its place back.
func (b *body) done() {
	if b.resp != nil {
		b.resp.Body.Close()
	}
	if b.release != nil {
		b.release()
		b.release = nil
	}
}

func (b *body) fail(err error) error {
	b.done()
	b.failed = b.r.outward(err)
	return b.failed
}

// resume continues after cause, or returns why it cannot.
func (b *body) resume(cause error) error {
	if callerGone(cause) {
		return cause
	}
	b.r.count(cause)
	b.resp.Body.Close()
	if b.offset-b.rowAt >= muchProgress {
		b.row, b.rowAt = 0, b.offset
	}
	if !b.canResume() || b.row >= maxResumes || b.resumes >= maxResumesAll {
		b.r.breaker.report(cause)
		return cause
	}
	pause := b.r.jitter(firstPause << b.row)
	b.row++
	b.resumes++
	b.r.metrics.resumed(b.r.name)
	b.r.log.Info("continuing a cut transfer", zap.String("file", b.name), zap.Int64("offset", b.offset), zap.Error(cause))
	if err := sleep(b.ctx, pause); err != nil {
		return err
	}
	return b.r.try(b.ctx, func(ctx context.Context) error {
		err := b.proceed(ctx)
		b.r.count(err)
		return err
	})
}

// canResume tells whether the rest can be told from the rest of another file.
func (b *body) canResume() bool { return !b.unsure() || b.size >= 0 }

// proceed asks for the rest.
func (b *body) proceed(ctx context.Context) error {
	header := http.Header{"Accept-Encoding": {"identity"}, "Range": {fmt.Sprintf("bytes=%d-", b.offset)}}
	if validator := firstOf(strong(b.etag), b.lastMod); validator != "" {
		header.Set("If-Range", validator)
	}
	resp, err := b.ask(ctx, header, expectRest)
	if err != nil {
		if isNotFound(err) {
			return bad("withdrew %s during its transfer", b.name)
		}
		return err
	}
	if err := b.rejoin(ctx, resp); err != nil {
		resp.Body.Close()
		return err
	}
	b.resp = resp
	return nil
}

// rejoin checks that an answer belongs to the same file and puts it at the right byte.
func (b *body) rejoin(ctx context.Context, resp *http.Response) error {
	if !b.agrees(resp.Header) {
		return bad("changed %s during its transfer", b.name)
	}
	if resp.StatusCode == http.StatusPartialContent {
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != b.offset || b.size >= 0 && total >= 0 && total != b.size || b.unsure() && total < 0 {
			return bad("continued %s at another place", b.name)
		}
		return nil
	}
	if !b.same(resp.Header) || b.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != b.size {
		return bad("cannot continue %s", b.name)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
		return classifyBody(ctx, err, b.r.timeout)
	}
	return nil
}

// unsure tells that only the length says which file it is.
func (b *body) unsure() bool { return strong(b.etag) == "" && b.lastMod == "" }

// agrees tells that no validator of h contradicts the first answer's.
func (b *body) agrees(h http.Header) bool {
	now := checksums(b.name, h)
	pairs := [][2]string{
		{opaque(b.etag), opaque(h.Get("ETag"))}, {b.lastMod, h.Get("Last-Modified")},
		{b.digests.MD5, now.MD5}, {b.digests.SHA1, now.SHA1}, {b.digests.SHA256, now.SHA256},
	}
	for _, p := range pairs {
		if p[0] != "" && p[1] != "" && p[0] != p[1] {
			return false
		}
	}
	return true
}

// same tells that a strong validator of h is the first answer's.
func (b *body) same(h http.Header) bool {
	now := checksums(b.name, h)
	return strong(b.etag) != "" && b.etag == h.Get("ETag") ||
		b.digests.SHA1 != "" && b.digests.SHA1 == now.SHA1 ||
		b.digests.SHA256 != "" && b.digests.SHA256 == now.SHA256
}

// opaque is an ETag without its weakness: enough to see a contradiction.
func opaque(tag string) string { return strings.TrimPrefix(tag, "W/") }

// strong is an ETag that can be relied on and sent back: empty if it is weak, or unquoted as conan_server's.
func strong(tag string) string {
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return tag
}

// contentRange reads "bytes start-end/total"; total is -1 if it is not told.
func contentRange(s string) (start, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, all, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if err != nil || err2 != nil || start < 0 || end < start {
		return 0, 0, false
	}
	if all == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(all, 10, 64)
	return start, total, err == nil && end < total
}

// checksums reads the digests that some servers send with a file.
func checksums(name string, h http.Header) conan.FileInfo {
	return conan.FileInfo{
		Name:   name,
		Size:   -1,
		MD5:    hexDigest(h.Get("X-Checksum-Md5"), 32),
		SHA1:   hexDigest(h.Get("X-Checksum-Sha1"), 40),
		SHA256: hexDigest(h.Get("X-Checksum-Sha256"), 64),
	}
}

// hexDigest is s in lower case if it is that many hex digits, else empty.
func hexDigest(s string, length int) string {
	s = strings.ToLower(s)
	if len(s) != length || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
