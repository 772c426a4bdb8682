package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"conanproxy/internal/conan"
)

// remove deletes what the path names: a reference, a recipe revision, a package or a package
// revision.
func (s *Server) remove(r *request) error {
	rev, err := r.writable(http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	return r.removeSelected(conan.Removal{Revision: rev})
}

// v2RemovePackages deletes all packages of a recipe revision.
func (s *Server) v2RemovePackages(r *request) error {
	recipe, err := r.writable(http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	return r.removeSelected(conan.Removal{Revision: recipe, AllPackages: true})
}

// v1RemovePackages deletes packages in every recipe revision, all of them or none; an empty list
// means every package.
func (s *Server) v1RemovePackages(r *request) error {
	recipe, err := r.writable(http.StatusMethodNotAllowed)
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
	return r.removeSelected(conan.Removal{
		Revision:    recipe,
		PackageIDs:  body.PackageIDs,
		AllPackages: len(body.PackageIDs) == 0,
	})
}

// v1RemoveFiles takes recipe files away that an upload no longer has.
func (s *Server) v1RemoveFiles(r *request) error {
	recipe, err := r.writable(http.StatusMethodNotAllowed)
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
	if err := r.view.Publisher.RemoveFiles(r.ctx(), recipe, r.actor(), body.Files); err != nil {
		return r.notInStore(recipe, err)
	}
	return r.done()
}

func (r *request) removeSelected(removal conan.Removal) error {
	removal.By = r.actor()
	if err := r.view.Publisher.Remove(r.ctx(), removal); err != nil {
		return r.notInStore(removal.Revision, err)
	}
	return r.done()
}

// notInStore explains a "not found" of the store to a caller that has just seen the thing: an
// upstream has it. It is a conflict, since clients hide the text of a 404.
func (r *request) notInStore(rev conan.Revision, err error) error {
	if !errors.Is(err, conan.ErrNotFound) {
		return err
	}
	names := r.reader().UpstreamsWith(r.ctx(), rev)
	if len(names) == 0 {
		return err
	}
	return refuse(http.StatusConflict,
		"%s is not in the store %q, so there is nothing to delete; upstream %s has it: a rule in its exclude list would hide it here",
		rev, r.view.Store, strings.Join(names, ", "))
}
