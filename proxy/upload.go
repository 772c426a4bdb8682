package proxy

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// takeFile stores the body as the file of an upload.
func (r *request) takeFile(up conan.Upload) error {
	sum, err := checksum(r.req)
	if err != nil {
		return err
	}
	body := r.body()
	up.SHA1, up.Body = sum, body
	err = r.view.Publisher.Put(r.ctx(), up)
	if body.failed != nil {
		return refuse(http.StatusConflict, "the body of %s ended before its end: send it again", up.Name)
	}
	if err != nil {
		return fmt.Errorf("upload %s of %s: %w", up.Name, up.Revision, err)
	}
	return r.done()
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

// isChecksumDeploy tells a probe from an upload, by its header: an empty body may be an empty file.
func isChecksumDeploy(req *http.Request) bool {
	return strings.EqualFold(req.Header.Get("X-Checksum-Deploy"), "true")
}

// refuseChecksumDeploy says that the file has to be sent. Clients of Conan 1 before 1.11 take
// anything but 404 for "stored".
func (r *request) refuseChecksumDeploy() error {
	if err := r.emptyBody(); err != nil {
		return err
	}
	return refuse(http.StatusNotFound, "send the file: it is not linked by its checksum here")
}

// link answers a checksum-deploy: 201 if the bytes are stored and the caller may read them, else
// 404, after which the client sends the file. If something else is wrong, that upload will tell.
func (s *Server) link(r *request, up conan.Upload) error {
	sum, err := checksum(r.req)
	if err != nil {
		return err
	}
	if err := r.emptyBody(); err != nil {
		return err
	}
	up.SHA1, up.Size = sum, -1
	err = conan.ErrNotFound
	if sum != "" {
		err = r.view.Publisher.Link(r.ctx(), up, r.mayReadIn)
	}
	if err != nil {
		if r.classify(err).status == http.StatusInternalServerError {
			s.log.Warn("an upload could not be linked to stored bytes", zap.String("id", r.id), zap.Stringer("revision", up.Revision), zap.String("file", up.Name), zap.Error(err))
		}
		return refuse(http.StatusNotFound, "send the file: it cannot be linked by its checksum")
	}
	r.stored()
	return r.text(http.StatusCreated, "")
}

// mayReadIn tells whether the caller may read the reference in a member that is configured.
func (r *request) mayReadIn(member string, ref conan.Ref) bool {
	return r.settings.byName[member] != nil && r.settings.guard.MayRead(r.caller, member, ref)
}

// v2PutFile takes a file of a revision, or links it to bytes that are stored already.
func (s *Server) v2PutFile(r *request) error {
	rev, err := r.writable(http.StatusBadRequest)
	if err != nil {
		return err
	}
	name, err := r.fileName()
	if err != nil {
		return err
	}
	up := conan.Upload{Revision: rev, Name: name, By: r.actor(), Size: r.req.ContentLength}
	if isChecksumDeploy(r.req) {
		return s.link(r, up)
	}
	return r.takeFile(up)
}
