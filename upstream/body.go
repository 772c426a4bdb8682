package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/cenkalti/backoff/v5"

	"conanproxy/internal/conan"
)

// startSize is how many bytes are looked at before the first is handed out.
const startSize = 64

// locate is the URL of a file. again means that the last URL did not work any more; it returns
// errNotThere if there is no other one.
type locate func(ctx context.Context, again bool) (*url.URL, error)

// body is the content of a file. When the connection is cut or falls silent it continues from where
// it was, if it is certain that the rest belongs to the same file (resume.go).
type body struct {
	r       *Remote
	ctx     context.Context
	name    string
	locate  locate
	path    string // of the URL that was asked last
	release func() // gives the slot back; nil once done

	resp    *http.Response
	head    []byte // read ahead by the check of the beginning
	size    int64  // -1 = unknown
	offset  int64  // bytes handed out
	version version
	resumes resumes
	failed  error
}

// resumes bounds how often a transfer continues.
type resumes struct {
	pauses   *backoff.ExponentialBackOff
	inARow   int   // without much progress between them
	progress int64 // offset at which the row began
	all      int
}

// transfer asks for a file and checks its beginning. The body lives as long as ctx; its Close must
// be called.
func (r *Remote) transfer(ctx context.Context, name string, locate locate) (*body, error) {
	release, err := r.connection(ctx, fileLane)
	if err != nil {
		return nil, err
	}
	b := &body{r: r, ctx: ctx, name: name, locate: locate, release: release, resumes: resumes{pauses: pauses()}}
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
		return b.r.classifyBody(ctx, err)
	}
	if f := b.r.pages.classify(b.path, checkStart(b.name, head)); f != nil {
		discard(resp.Body)
		return f
	}
	b.resp, b.head, b.size = resp, head, resp.ContentLength
	b.version = versionOf(b.name, resp.Header)
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

// ask sends one request for the file and classifies the answer. After a 403 or 404 it asks once for
// another URL: signed URLs die early.
func (b *body) ask(ctx context.Context, header http.Header, want expect) (*http.Response, error) {
	var refused *failure
	for again := false; ; again = true {
		u, err := b.locate(ctx, again)
		if isNotFound(err) && refused != nil {
			return nil, refused
		}
		if err != nil {
			return nil, err
		}
		b.path = u.Path
		resp, err := b.r.send(ctx, request{url: u, header: header})
		if err != nil {
			return nil, err
		}
		if refused = b.r.classify(resp, want, b.name); refused == nil {
			return resp, nil
		}
		refused = b.r.pages.classify(b.path, refused)
		discard(resp.Body)
		stale := resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound
		if again || !stale {
			return nil, refused
		}
	}
}

// Read hands out the next bytes. Errors other than io.EOF are ErrUnavailable or the end of the
// context.
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
			return 0, b.fail(badAnswer("sent more bytes than it announced"))
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
		if err := b.resume(b.r.classifyBody(b.ctx, err)); err != nil {
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

// info describes the file as the server did.
func (b *body) info() conan.FileInfo {
	info := b.version.digests
	info.Size = b.size
	return info
}

// done gives the connection and its slot back.
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
	b.failed = b.r.outcome(err)
	return b.failed
}
