package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// v2GetFile serves a file of a revision.
func (s *Server) v2GetFile(r *request) error {
	rev, err := r.readable()
	if err != nil {
		return err
	}
	name, err := r.fileName()
	if err != nil {
		return err
	}
	return s.getFile(r, rev, name)
}

// v1GetFile serves a file at a URL that download_urls gave out, or that was made up of the same
// parts.
func (s *Server) v1GetFile(r *request) error {
	if err := r.takeSignature(); err != nil {
		return err
	}
	return s.v2GetFile(r)
}

// getFile answers with a file that the caller may read; a revision that is not pinned is the
// newest.
func (s *Server) getFile(r *request, rev conan.Revision, name string) error {
	if isSmallFile(name) && r.req.Header.Get("Range") == "" && r.req.Header.Get("If-None-Match") == "" {
		return s.kept(r, func() (rendering, error) { return s.renderFile(r, rev, name) })
	}
	f, err := r.open(rev, name)
	if err != nil {
		return err
	}
	return s.serveFile(r, f.Value, r.cacheControl(rev, name))
}

// isSmallFile tells the files that every install asks for first and that are worth keeping in
// memory.
func isSmallFile(name string) bool {
	return name == conan.ManifestFile || name == conan.InfoFile || name == conan.RecipeFile
}

// open opens a file of a revision, the newest one if rev leaves it open, and notes where it came
// from.
func (r *request) open(rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	pinned, err := r.pin(rev)
	if err != nil {
		return conan.Answer[*conan.File]{Origin: pinned.Origin}, err
	}
	f, err := r.reader().Open(r.ctx(), pinned.Value, name)
	r.opened = use{f.Origin.Member, pinned.Value}
	if pinned.Origin.State != "" {
		f.Origin = conan.MergeOrigins(pinned.Origin, f.Origin)
	}
	r.origin = f.Origin
	return f, err
}

// pin names the revisions that rev leaves open. Its answer has no origin if there was nothing to
// ask.
func (r *request) pin(rev conan.Revision) (conan.Answer[conan.Revision], error) {
	if rev.Pinned() {
		return conan.Answer[conan.Revision]{Value: rev}, nil
	}
	return r.reader().Newest(r.ctx(), rev)
}

// renderFile reads a small file whole, once it is verified; a file that is not small it serves
// itself and returns no document.
func (s *Server) renderFile(r *request, rev conan.Revision, name string) (rendering, error) {
	opened, err := r.open(rev, name)
	rendered := rendering{Origin: opened.Origin}
	if err != nil {
		return rendered, err
	}
	const largest = 256 << 10
	if f := opened.Value; f.Size < 0 || f.Size > largest {
		return rendered, s.serveFile(r, f, r.cacheControl(rev, name))
	}
	f, err := verified(r.ctx(), opened.Value)
	if err != nil {
		return rendered, err
	}
	defer f.Close()
	body := make([]byte, f.Size)
	if _, err := io.ReadFull(f, body); err != nil {
		return rendered, err
	}
	header := append(fileHeader(f.FileInfo), field("Cache-Control", r.cacheControl(rev, name)), field("Accept-Ranges", "bytes"))
	rendered.Value = newDocument(http.StatusOK, contentTypeOf(name), body, header...)
	rendered.Value.use = r.opened
	return rendered, nil
}

// cacheControl lets caches on the way keep what cannot change: the files of a pinned revision but
// its metadata.
func (r *request) cacheControl(asked conan.Revision, name string) string {
	if !asked.Pinned() || asked.Mutable() || conan.IsMetadata(name) {
		return "no-cache"
	}
	if r.settings.guard.AnonymousReads(r.view.Members, asked.Ref) {
		return "public, max-age=31536000, immutable"
	}
	return "private, max-age=31536000, immutable"
}

// serveFile answers with a file of a revision that open opened, and closes it.
func (s *Server) serveFile(r *request, f *conan.File, cacheControl string) error {
	r.used(r.opened)
	wantsRange := r.req.Method == http.MethodGet && (r.req.Header.Get("Range") != "" || r.req.Header.Get("If-Range") != "")
	if wantsRange || f.Size < 0 {
		var err error
		if f, err = verified(r.ctx(), f); err != nil {
			return err
		}
	}
	defer f.Close()
	h := r.Header()
	h.Set("Content-Type", contentTypeOf(f.Name))
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
	h := r.Header()
	for _, field := range fileHeader(f.FileInfo) {
		h[field.name] = field.values
	}
	if !isOneRange(r.req.Header.Get("Range")) || s.now().Sub(f.Replaced) < replacedLately {
		r.req.Header.Del("Range")
	}
	setOrigin(h, r.origin)
	http.ServeContent(r, r.req, "", time.Time{}, seeker)
	return nil
}

// replacedLately is how long after a replacement a client may still have a part of the old bytes.
// Until then it gets the whole file, so that it does not put the rest of the new bytes behind them.
const replacedLately = 24 * time.Hour

// isOneRange tells a range that is answered by itself. Several ranges would be a multipart answer,
// which no client takes, and a malformed one is as none.
func isOneRange(header string) bool {
	ranges, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return false
	}
	first, last, ok := strings.Cut(strings.TrimSpace(ranges), "-")
	from, fromErr := strconv.ParseUint(first, 10, 63)
	to, toErr := strconv.ParseUint(last, 10, 63)
	switch {
	case !ok || first == "" && last == "":
		return false
	case first == "":
		return toErr == nil
	case last == "":
		return fromErr == nil
	}
	return fromErr == nil && toErr == nil && from <= to
}

// fileHeader has the digests of verified bytes.
func fileHeader(f conan.FileInfo) []headerField {
	var fields []headerField
	if f.SHA256 != "" {
		fields = append(fields, field("ETag", `"`+f.SHA256+`"`), field("X-Checksum-Sha256", f.SHA256))
	}
	if f.SHA1 != "" {
		fields = append(fields, field("X-Checksum-Sha1", f.SHA1))
	}
	if f.MD5 != "" {
		fields = append(fields, field("X-Checksum-Md5", f.MD5))
	}
	return fields
}

// follow sends a file while it is downloaded. There is no ETag and no Accept-Ranges, so that a
// client that is cut off begins again instead of asking for the rest of something else; on
// any failure the body ends short of its Content-Length.
func (s *Server) follow(r *request, f *conan.File) error {
	h := r.Header()
	h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	if r.req.Method == http.MethodHead {
		setOrigin(h, r.origin)
		r.WriteHeader(http.StatusOK)
		return nil
	}
	buf := make([]byte, 64<<10)
	n, err := readSome(f, buf)
	if err != nil && err != io.EOF {
		return err // nothing is sent yet: this can still be told
	}
	setOrigin(h, r.origin)
	r.WriteHeader(http.StatusOK)
	control := http.NewResponseController(r.ResponseWriter)
	var sent int64
	for {
		if n > 0 {
			if sent += int64(n); sent > f.Size {
				err = errors.New("the file is longer than it was said to be")
				break
			}
			if _, failed := r.Write(buf[:n]); failed != nil {
				return nil // the client has left
			}
			if n < len(buf) {
				_ = control.Flush()
			}
		}
		if err != nil {
			break
		}
		runtime.Gosched() // a reader that has caught up never waits, and would keep new ones waiting for its whole time slice
		n, err = f.Read(buf)
	}
	if err == io.EOF && sent == f.Size {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if r.ctx().Err() == nil {
		s.log.Warn("body ended short", zap.String("id", r.id), zap.String("file", f.Name), zap.String("path", printable(r.path)),
			zap.Int64("sent", sent), zap.Int64("size", f.Size), zap.Error(err))
		r.failure = sentence(err)
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
