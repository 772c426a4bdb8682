package proxy

import (
	"fmt"
	"net/http"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
)

// v1UploadURLs declares the files of an upload and says where to send each: exactly the names that
// were asked for, since clients skip a file without a URL and report success.
func (s *Server) v1UploadURLs(r *request) error {
	target, err := r.writable(http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	sizes, err := r.declaredSizes(target)
	if err != nil {
		return err
	}
	var total int64
	for _, size := range sizes {
		total += size
	}
	if err := r.view.Publisher.CheckSpace(r.ctx(), total); err != nil {
		return err
	}
	stage, err := r.view.Publisher.Stage(r.ctx(), target, r.actor(), sizes)
	if err != nil {
		return err
	}
	urls := make(map[string]string, len(sizes))
	for name, size := range sizes {
		urls[name], err = r.signedURL(auth.Grant{
			Method: http.MethodPut, Path: filePath(target, name), View: r.view.Name, Member: r.view.Store,
			Size: size, Caller: r.caller, Stage: stage,
		})
		if err != nil {
			return err
		}
	}
	r.stored()
	return r.json(urls)
}

// declaredSizes reads the body of upload_urls: names with sizes in bytes.
func (r *request) declaredSizes(target conan.Revision) (map[string]int64, error) {
	var declared map[string]*int64
	if err := r.readJSON(&declared); err != nil {
		return nil, err
	}
	if len(declared) == 0 {
		return nil, fmt.Errorf("%w: the body names no files", conan.ErrInvalid)
	}
	const largest = 1 << 50 // no disk has that much; sums of sizes cannot overflow
	sizes := make(map[string]int64, len(declared))
	for name, size := range declared {
		if err := conan.CheckFileName(name, target.IsPackage()); err != nil {
			return nil, err
		}
		if !conan.IsV1File(name) {
			return nil, fmt.Errorf("%w: %s is not a file of Conan 1", conan.ErrInvalid, name)
		}
		if size == nil || *size < 0 || *size > largest {
			return nil, fmt.Errorf("%w: the size of %s is not a number of bytes", conan.ErrInvalid, name)
		}
		if *size == 0 && (name == conan.RecipeFile || name == conan.ManifestFile) {
			return nil, fmt.Errorf("%w: %s cannot be empty", conan.ErrInvalid, name)
		}
		sizes[name] = *size
	}
	return sizes, nil
}

// v1PutFile takes a file at a URL that upload_urls gave out. Without a signature it is one of an
// undeclared set.
func (s *Server) v1PutFile(r *request) error {
	rev, name, err := r.uploadTarget()
	if err != nil {
		return err
	}
	if isChecksumDeploy(r.req) {
		return r.refuseChecksumDeploy()
	}
	up := conan.Upload{Revision: rev, Name: name, By: r.actor(), Size: r.req.ContentLength}
	if r.grant != nil {
		if up.Size >= 0 && up.Size != r.grant.Size {
			return refuse(http.StatusBadRequest, "%s has %d bytes here, but %d were declared", name, up.Size, r.grant.Size)
		}
		up.Size, up.Stage = r.grant.Size, r.grant.Stage
	}
	return r.takeFile(up)
}

// v1AuthorizeUpload tells whether this caller may upload this file now, and where to. It stores
// nothing.
func (s *Server) v1AuthorizeUpload(r *request) error {
	rev, name, err := r.uploadTarget()
	if err != nil {
		return err
	}
	if !conan.IsV1File(name) {
		return refuse(http.StatusBadRequest, "Conan 1 does not upload %s", clip(name))
	}
	if err := r.view.Publisher.CheckSpace(r.ctx(), max(r.req.ContentLength, 0)); err != nil {
		return err
	}
	return r.json(map[string]string{"url": r.url(filePath(rev, name))})
}

// uploadTarget is the file that a v1 path names, if the caller may upload it.
func (r *request) uploadTarget() (conan.Revision, string, error) {
	if err := r.takeSignature(); err != nil {
		return conan.Revision{}, "", err
	}
	rev, err := r.writable(http.StatusBadRequest)
	if err != nil {
		return rev, "", err
	}
	if rev.RRev != "" || rev.PRev != "" {
		return rev, "", refuse(http.StatusBadRequest, "uploads of Conan 1 go to revision 0: the server computes revisions from the manifest")
	}
	name, err := r.fileName()
	return rev, name, err
}
