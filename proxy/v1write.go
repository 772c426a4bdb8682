package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"conanproxy/internal/conan"
)

// v1UploadURLs declares the files of an upload and says where to send each: exactly the names that were
// asked for, since clients skip a file without a URL and report success.
func (s *Server) v1UploadURLs(r *request) error {
	target, err := s.writable(r, http.StatusMethodNotAllowed)
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
	if err := s.publisher.CheckRoom(r.ctx(), total); err != nil {
		return err
	}
	stage, err := s.publisher.Stage(r.ctx(), target, r.caller.Name, sizes)
	if err != nil {
		return err
	}
	urls := make(map[string]string, len(sizes))
	for name, size := range sizes {
		grant := Grant{Method: http.MethodPut, Path: filePath(target, name), Size: size, User: r.caller.Name, Stage: stage}
		if urls[name], err = s.signedURL(r, grant); err != nil {
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

// v1RemoveFiles takes recipe files away that an upload no longer has.
func (s *Server) v1RemoveFiles(r *request) error {
	recipe, err := s.writable(r, http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	var body struct {
		Files []string `json:"files"`
	}
	if err := r.readJSON(&body); err != nil {
		return err
	}
	if body.Files == nil {
		return fmt.Errorf(`%w: the body is not {"files": [...]}`, conan.ErrInvalid)
	}
	for _, name := range body.Files {
		if err := conan.CheckFileName(name, false); err != nil {
			return err
		}
	}
	if err := s.publisher.RemoveFiles(r.ctx(), recipe, r.caller.Name, body.Files); err != nil {
		return s.notLocal(r, recipe, err)
	}
	r.stored()
	return r.done()
}

// v1RemovePackages deletes packages in every recipe revision, all of them or none; an empty list means every package.
func (s *Server) v1RemovePackages(r *request) error {
	recipe, err := s.writable(r, http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	var body struct {
		PackageIDs []string `json:"package_ids"`
	}
	if err := r.readJSON(&body); err != nil {
		return err
	}
	if body.PackageIDs == nil {
		return fmt.Errorf(`%w: the body is not {"package_ids": [...]}`, conan.ErrInvalid)
	}
	for _, id := range body.PackageIDs {
		if !conan.ValidRevisionID(id) {
			return fmt.Errorf("%w: package id %q is not 1 to 64 letters and digits", conan.ErrInvalid, clip(id))
		}
	}
	return s.removeSelected(r, conan.Removal{
		Revision:    recipe,
		PackageIDs:  body.PackageIDs,
		AllPackages: len(body.PackageIDs) == 0,
	})
}

// remove deletes what the path names: a reference, a recipe revision, a package or a package revision.
func (s *Server) remove(r *request) error {
	rev, err := s.writable(r, http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	return s.removeSelected(r, conan.Removal{Revision: rev})
}

func (s *Server) removeSelected(r *request, removal conan.Removal) error {
	removal.User = r.caller.Name
	if err := s.publisher.Remove(r.ctx(), removal); err != nil {
		return s.notLocal(r, removal.Revision, err)
	}
	r.stored()
	return r.done()
}

// notLocal explains a "not found" of the local store to somebody who has just seen the thing: an upstream has it.
func (s *Server) notLocal(r *request, rev conan.Revision, err error) error {
	if !errors.Is(err, conan.ErrNotFound) {
		return err
	}
	names := r.reader().UpstreamsWith(r.ctx(), rev)
	if len(names) == 0 {
		return err
	}
	return refuse(http.StatusNotFound,
		"%s is not in the local store, so there is nothing to delete; upstream %s has it: a rule in its exclude list would hide it here",
		rev, strings.Join(names, ", "))
}
