package proxy

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"conanproxy/internal/conan"
)

// granted is the right that the URL itself carries, if it has a signature. Then Authorization is not
// looked at: clients may send one of another host there.
func (s *Server) granted(r *request, rev conan.Revision, name string) (grant Grant, signed bool, err error) {
	signature := r.QueryParam("signature")
	if signature == "" {
		return Grant{}, false, nil
	}
	grant, err = s.guard.VerifySignature(signature, r.Request().Method, filePath(rev, name))
	if err != nil {
		return Grant{}, true, err
	}
	r.caller, r.identified = Caller{Name: grant.User}, true
	return grant, true, nil
}

// file is the node and the file that the path names.
func (r *request) file() (conan.Revision, string, error) {
	rev, err := r.revision()
	if err != nil {
		return rev, "", err
	}
	name, err := r.fileName()
	return rev, name, err
}

// v1GetFile serves a file at a URL that download_urls gave out, or that somebody made up of the same parts.
func (s *Server) v1GetFile(r *request) error {
	rev, name, err := r.file()
	if err != nil {
		return err
	}
	_, signed, err := s.granted(r, rev, name)
	if err != nil {
		return err
	}
	if !signed {
		if _, err := s.readable(r); err != nil {
			return err
		}
	}
	return s.getFile(r, rev, name)
}

// v1PutFile takes a file at a URL that upload_urls gave out. Without a signature it is one of an undeclared set.
func (s *Server) v1PutFile(r *request) error {
	rev, name, err := r.file()
	if err != nil {
		return err
	}
	grant, signed, err := s.granted(r, rev, name)
	if err != nil {
		return err
	}
	if err := s.mayUpload(r, signed); err != nil {
		return err
	}
	if rev.RRev != "" || rev.PRev != "" {
		return refuse(http.StatusBadRequest, "uploads of Conan 1 go to revision 0: the server computes revisions from the manifest")
	}
	if isProbe(r.Request()) {
		return s.refuseProbe(r)
	}
	size := r.Request().ContentLength
	if signed {
		if size >= 0 && size != grant.Size {
			return refuse(http.StatusBadRequest, "%s has %d bytes here, but %d were declared", name, size, grant.Size)
		}
		size = grant.Size
	}
	return s.receive(r, conan.Upload{Revision: rev, Stage: grant.Stage, Name: name, User: r.caller.Name, Size: size})
}

// mayUpload checks the view, and the rights unless the URL carries them.
func (s *Server) mayUpload(r *request, signed bool) error {
	if signed {
		return r.takesWrites(http.StatusBadRequest)
	}
	_, err := s.writable(r, http.StatusBadRequest)
	return err
}

// v1AuthorizeUpload tells whether this caller may upload this file now, and where to. It stores nothing.
func (s *Server) v1AuthorizeUpload(r *request) error {
	rev, name, err := r.file()
	if err != nil {
		return err
	}
	if _, err := s.writable(r, http.StatusBadRequest); err != nil {
		return err
	}
	if rev.RRev != "" || rev.PRev != "" || !conan.IsV1File(name) {
		return refuse(http.StatusBadRequest, "Conan 1 uploads no %s, and only to revision 0", clip(name))
	}
	size := max(r.Request().ContentLength, 0)
	if err := s.publisher.CheckRoom(r.ctx(), size); err != nil {
		if errors.Is(err, conan.ErrNoSpace) {
			return refuse(http.StatusInsufficientStorage, "%s", sentence(err))
		}
		return err
	}
	return r.json(map[string]string{"url": r.url(filePath(rev, name))})
}

// checksum is the sha1 that the client has computed, in lower case; empty if it sent none.
func checksum(req *http.Request) (string, error) {
	sum := strings.ToLower(req.Header.Get("X-Checksum-Sha1"))
	if sum == "" {
		return "", nil
	}
	if b, err := hex.DecodeString(sum); err != nil || len(b) != sha1.Size {
		return "", fmt.Errorf("%w: X-Checksum-Sha1 is not 40 hexadecimal digits", conan.ErrInvalid)
	}
	return sum, nil
}

// isProbe tells a checksum-deploy from an upload, by its header: an empty body may be an empty file.
func isProbe(req *http.Request) bool {
	return strings.EqualFold(req.Header.Get("X-Checksum-Deploy"), "true")
}

// refuseProbe says that the file has to be sent. Clients of Conan 1 before 1.11 take anything but 404 for "stored".
func (s *Server) refuseProbe(r *request) error {
	if err := r.emptyBody(); err != nil {
		return err
	}
	return refuse(http.StatusNotFound, "send the file: it is not linked by its checksum here")
}

// emptyBody makes sure that a probe brings no bytes, which would be lost.
func (r *request) emptyBody() error {
	if r.Request().ContentLength == 0 {
		return nil
	}
	if n, err := io.ReadFull(r.body(), make([]byte, 1)); n > 0 || err != io.EOF {
		return refuse(http.StatusBadRequest, "a request with X-Checksum-Deploy has no body")
	}
	return nil
}

// receive stores the body as the file of an upload.
func (s *Server) receive(r *request, up conan.Upload) error {
	sum, err := checksum(r.Request())
	if err != nil {
		return err
	}
	body := r.body()
	up.SHA1, up.Body = sum, body
	err = s.publisher.Put(r.ctx(), up)
	if body.failed != nil {
		return refuse(http.StatusConflict, "the body of %s ended before its end: send it again", up.Name)
	}
	if err != nil {
		return fmt.Errorf("upload %s of %s: %w", up.Name, up.Revision, err)
	}
	r.stored()
	return r.done()
}

// stored tells that the answer is the local store's.
func (r *request) stored() {
	conan.Note(r.ctx(), conan.Origin{Member: ViewLocal, State: conan.StateLocal})
}

// getFile serves a file that the caller may read; a revision that is not pinned is the newest.
func (s *Server) getFile(r *request, rev conan.Revision, name string) error {
	if !isSmallFile(name) || r.Request().Header.Get("Range") != "" || r.Request().Header.Get("If-None-Match") != "" {
		return s.openFile(r, rev, name)
	}
	return s.kept(r, false, func() (*document, error) {
		return s.smallFile(r, rev, name)
	})
}

func (s *Server) openFile(r *request, rev conan.Revision, name string) error {
	pinned, err := pin(r, rev)
	if err != nil {
		return err
	}
	f, err := r.reader().Open(r.ctx(), pinned, name)
	if err != nil {
		return err
	}
	return s.serveFile(r, f, s.cacheControl(rev, name))
}

// pin names the revisions that the path left open.
func pin(r *request, rev conan.Revision) (conan.Revision, error) {
	if rev.Pinned() {
		return rev, nil
	}
	return r.reader().Newest(r.ctx(), rev)
}

// isSmallFile tells the files that every install asks for first and that are worth keeping in memory.
func isSmallFile(name string) bool {
	switch name {
	case conan.ManifestFile, conan.InfoFile, conan.RecipeFile:
		return true
	}
	return false
}

// smallFile reads a small file whole, once it is verified; a file that is not small it serves itself and returns nil.
func (s *Server) smallFile(r *request, rev conan.Revision, name string) (*document, error) {
	pinned, err := pin(r, rev)
	if err != nil {
		return nil, err
	}
	f, err := r.reader().Open(r.ctx(), pinned, name)
	if err != nil {
		return nil, err
	}
	const largest = 256 << 10
	if f.Size < 0 || f.Size > largest {
		return nil, s.serveFile(r, f, s.cacheControl(rev, name))
	}
	if f, err = verified(r.ctx(), f); err != nil {
		return nil, err
	}
	defer f.Close()
	body := make([]byte, f.Size)
	if _, err := io.ReadFull(f, body); err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, pinned, err)
	}
	header := append(fileHeader(f.FileInfo),
		headerField{"Cache-Control", s.cacheControl(rev, name)},
		headerField{"Accept-Ranges", "bytes"})
	return &document{status: http.StatusOK, contentType: contentTypeOf(name), header: header, body: body}, nil
}

// cacheControl lets caches on the way keep what cannot change: the files of a pinned revision but its metadata.
func (s *Server) cacheControl(asked conan.Revision, name string) string {
	if !asked.Pinned() || asked.Mutable() || conan.IsMetadata(name) {
		return "no-cache"
	}
	if s.guard.AnonymousMayRead(asked.Ref) {
		return "public, max-age=31536000, immutable"
	}
	return "private, max-age=31536000, immutable"
}
