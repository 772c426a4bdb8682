package proxy

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// The content types of answers. Clients take exactly this JSON type; nothing is ever text/html but our own page.
const (
	jsonType = "application/json"
	textType = "text/plain; charset=utf-8"
)

// silence is how long a peer may neither take nor send a byte. Lengths of transfers are not limited.
const silence = 2 * time.Minute

// sendWriter is the one way to a response's body. echo's own Response hides the io.ReaderFrom of
// the connection, and with it sendfile; this writer keeps it, does echo's book-keeping (Status,
// Size, Committed), and moves the write deadline while bytes flow.
type sendWriter struct {
	resp    *echo.Response
	control *http.ResponseController
}

func (r *request) writer() sendWriter {
	resp := r.Response()
	return sendWriter{resp: resp, control: http.NewResponseController(resp.Writer)}
}

// Header implements http.ResponseWriter.
func (w sendWriter) Header() http.Header { return w.resp.Header() }

// WriteHeader implements http.ResponseWriter. An answer without a body is sent by it alone, perhaps long after the
// deadline that the request began with.
func (w sendWriter) WriteHeader(status int) {
	w.moveDeadline()
	w.resp.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w sendWriter) Write(p []byte) (int, error) {
	w.moveDeadline()
	return w.resp.Write(p)
}

// ReadFrom implements io.ReaderFrom. It sends in pieces, so that the deadline can move; each piece
// of an *os.File goes by sendfile where the connection can.
func (w sendWriter) ReadFrom(src io.Reader) (total int64, err error) {
	sink, ok := w.resp.Writer.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	if !w.resp.Committed {
		w.resp.WriteHeader(w.resp.Status)
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	const piece = 1 << 20
	for limited.N > 0 {
		part := &io.LimitedReader{R: limited.R, N: min(limited.N, piece)}
		w.moveDeadline()
		n, err := sink.ReadFrom(part)
		total += n
		limited.N -= n
		w.resp.Size += n
		if err != nil || part.N > 0 {
			return total, err
		}
	}
	return total, nil
}

// moveDeadline gives the client another while to take what is sent. Writers without deadlines are left alone.
func (w sendWriter) moveDeadline() { _ = w.control.SetWriteDeadline(time.Now().Add(silence)) }

// ctx is the request's context with its trace.
func (r *request) ctx() context.Context { return r.Request().Context() }

// abort ends the response short of what its headers promised, so that no client takes it for whole.
func (r *request) abort() {
	r.aborted = true
	panic(http.ErrAbortHandler)
}

// send answers with a rendered document, in one write.
func (r *request) send(d *document) error {
	if r.from = d.from; r.from.isZero() {
		r.from = provenanceOf(&r.trace, r.merged)
	}
	h := r.Response().Header()
	d.writeHeader(h)
	r.from.writeTo(h)
	w := r.writer()
	w.WriteHeader(d.status)
	if r.Request().Method == http.MethodHead || len(d.body) == 0 {
		return nil
	}
	_, _ = w.Write(d.body) // a failure only means that the client has left
	return nil
}

// writeHeader sets the headers of the document itself.
func (d *document) writeHeader(h http.Header) {
	for _, f := range d.header {
		h.Set(f.name, f.value)
	}
	if d.contentType != "" {
		h.Set(echo.HeaderContentType, d.contentType)
	}
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(d.body)))
}

// text answers with a line of plain text, without a newline at its end.
func (r *request) text(status int, text string) error {
	return r.send(&document{status: status, contentType: textType, body: []byte(text)})
}

// done answers a write that worked: exactly 200, the only status that every client takes for success, and no body.
func (r *request) done() error { return r.text(http.StatusOK, "") }

// json answers with v.
func (r *request) json(v any) error {
	d, err := jsonDocument(v)
	if err != nil {
		return err
	}
	return r.send(d)
}

// serveFile answers with a file of a revision and closes it.
func (s *Server) serveFile(r *request, f *conan.File, cacheControl string) error {
	req := r.Request()
	wantsRange := req.Method == http.MethodGet && (req.Header.Get("Range") != "" || req.Header.Get("If-Range") != "")
	if wantsRange || f.Size < 0 {
		var err error
		if f, err = verified(r.ctx(), f); err != nil {
			return err
		}
	}
	defer f.Close()
	h := r.Response().Header()
	h.Set(echo.HeaderContentType, contentTypeOf(f.Name))
	if !f.Verified() {
		h.Set("Cache-Control", "no-store")
		return s.follow(r, f)
	}
	h.Set("Cache-Control", cacheControl)
	return s.serveVerified(r, f)
}

// verified waits until f is stored and checked, and returns it so; f itself must not be used again.
// On an error f is closed.
func verified(ctx context.Context, f *conan.File) (*conan.File, error) {
	if f.Verified() {
		return f, nil
	}
	defer f.Close()
	return f.Wait(ctx)
}

// serveVerified answers with stored bytes: ranges, conditions and HEAD are net/http's work.
func (s *Server) serveVerified(r *request, f *conan.File) error {
	seeker, ok := f.ReadCloser.(io.ReadSeeker)
	if !ok {
		return errors.New("a verified file cannot seek")
	}
	h := r.Response().Header()
	for _, field := range fileHeader(f.FileInfo) {
		h.Set(field.name, field.value)
	}
	req := r.Request()
	if ranges := req.Header.Get("Range"); strings.Contains(ranges, ",") || !strings.HasPrefix(ranges, "bytes=") {
		req.Header.Del("Range") // several ranges would be a multipart answer, which no client takes
	}
	r.from = provenanceOf(&r.trace, r.merged)
	r.from.writeTo(h)
	http.ServeContent(r.writer(), req, "", time.Time{}, seeker)
	return nil
}

// fileHeader is what is said about verified bytes.
func fileHeader(f conan.FileInfo) []headerField {
	var fields []headerField
	if f.SHA256 != "" {
		fields = append(fields, headerField{"ETag", `"` + f.SHA256 + `"`}, headerField{"X-Checksum-Sha256", f.SHA256})
	}
	if f.SHA1 != "" {
		fields = append(fields, headerField{"X-Checksum-Sha1", f.SHA1})
	}
	if f.MD5 != "" {
		fields = append(fields, headerField{"X-Checksum-Md5", f.MD5})
	}
	return fields
}

// follow sends a file while it is being filled. There is no ETag and no Accept-Ranges, so that a
// client that is cut off begins again instead of asking for the rest of something else; on
// any failure the body ends short of its Content-Length.
func (s *Server) follow(r *request, f *conan.File) error {
	h := r.Response().Header()
	h.Set(echo.HeaderContentLength, strconv.FormatInt(f.Size, 10))
	w := r.writer()
	if r.Request().Method == http.MethodHead {
		r.from = provenanceOf(&r.trace, r.merged)
		r.from.writeTo(h)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	buf := make([]byte, 64<<10)
	n, err := readSome(f, buf)
	if err != nil && err != io.EOF {
		return err // nothing is sent yet: this can still be told
	}
	r.from = provenanceOf(&r.trace, r.merged)
	r.from.writeTo(h)
	w.WriteHeader(http.StatusOK)
	var sent int64
	for {
		if n > 0 {
			if sent += int64(n); sent > f.Size {
				err = errors.New("the file is longer than it was said to be")
				break
			}
			if _, failed := w.Write(buf[:n]); failed != nil {
				return nil // the client has left
			}
			if n < len(buf) {
				_ = w.control.Flush()
			}
		}
		if err != nil {
			break
		}
		runtime.Gosched() // who catches up never waits, and would keep those that just came waiting for its whole time slice
		n, err = f.Read(buf)
	}
	if err == io.EOF && sent == f.Size {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if r.ctx().Err() == nil {
		s.log.Warn("body ended short", zap.String("file", f.Name), zap.String("path", r.Request().URL.Path), zap.Int64("sent", sent), zap.Int64("size", f.Size), zap.Error(err))
	}
	r.abort()
	return nil
}

// readSome reads at least one byte or an error.
func readSome(src io.Reader, buf []byte) (n int, err error) {
	for n == 0 && err == nil {
		n, err = src.Read(buf)
	}
	return n, err
}

// contentTypeOf is the type of a file by its name. A .tgz is a file here, not an encoding of one.
func contentTypeOf(name string) string {
	switch path.Ext(name) {
	case ".tgz":
		return "application/gzip"
	case ".txz":
		return "application/x-xz"
	case ".tzst":
		return "application/zstd"
	case ".txt", ".py":
		return textType
	}
	return "application/octet-stream"
}

// body is the request's body; every byte that comes moves its read deadline.
func (r *request) body() *bodyReader {
	return &bodyReader{ReadCloser: r.Request().Body, control: http.NewResponseController(r.Response().Writer), stalled: &r.stalled}
}

// bodyReader remembers how the body of a request ended.
type bodyReader struct {
	io.ReadCloser
	control *http.ResponseController
	stalled *bool // set when the client was silent for too long
	failed  error // what ended the body before its end
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(silence))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		*b.stalled, b.failed = true, err // the deadline stays: nobody is to wait for this client again
		return n, err
	}
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{}) // what follows is our time, not the client's
		if err != io.EOF {
			b.failed = err
		}
	}
	return n, err
}
