package proxy

import (
	"fmt"
	"net/http"
	"net/url"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
)

// v1 has no revisions on the wire: reading it is reading the newest of the newest.

// v1Files are the files of a pinned revision that Conan 1 knows.
type v1Files struct {
	use
	files conan.Snapshot
}

// v1Snapshot lists the files of a recipe or package with their md5 sums.
func (s *Server) v1Snapshot(r *request) error {
	rev, err := r.readable()
	if err != nil {
		return err
	}
	return s.kept(r, func() (rendering, error) {
		found, err := r.v1Files(rev)
		if err != nil {
			return rendering{Origin: found.Origin}, err
		}
		key := sumsKey{
			settings: r.settings, view: r.view.Name, generation: r.generation, readable: r.readableSet(), revision: found.Value.rev,
		}
		sums, err := s.sums.complete(r.ctx(), key, r.reader(), found.Value.files)
		if err != nil {
			return rendering{Origin: found.Origin}, err
		}
		return renderUse(found.Value.use, conan.Answer[map[string]string]{Value: sums, Origin: found.Origin}, asIs)
	})
}

// asIs is the shape of an answer that is written as it is.
func asIs[T any](v T) any { return v }

// v1Files finds the newest revision of what rev names, and those of its files that Conan 1 knows.
// Other names do harm in its answers.
func (r *request) v1Files(rev conan.Revision) (conan.Answer[v1Files], error) {
	reader := r.reader()
	pinned, err := reader.Newest(r.ctx(), rev)
	if err != nil {
		return conan.Answer[v1Files]{Origin: pinned.Origin}, err
	}
	all, err := reader.Snapshot(r.ctx(), pinned.Value)
	found := conan.Answer[v1Files]{Origin: conan.MergeOrigins(pinned.Origin, all.Origin), Prefetch: all.Prefetch}
	if err != nil {
		return found, err
	}
	found.Value.use = use{all.Origin.Member, pinned.Value}
	for _, f := range all.Value {
		if conan.IsV1File(f.Name) {
			found.Value.files = append(found.Value.files, f)
		}
	}
	if _, ok := found.Value.files.Find(conan.ManifestFile); !ok {
		return found, fmt.Errorf("%s: %w: it has no %s", pinned.Value, conan.ErrNotFound, conan.ManifestFile)
	}
	return found, nil
}

// v1Digest gives the URL of the manifest, and of nothing else: clients fetch whatever is listed.
func (s *Server) v1Digest(r *request) error {
	return s.v1URLs(r, false)
}

// v1DownloadURLs gives the URLs of all files.
func (s *Server) v1DownloadURLs(r *request) error {
	return s.v1URLs(r, true)
}

// v1URLs gives URLs that pin the revision, signed unless everybody may read them: of all files, or
// of the manifest.
func (s *Server) v1URLs(r *request, all bool) error {
	rev, err := r.readable()
	if err != nil {
		return err
	}
	public := r.settings.guard.AnonymousReads(r.view.Members, rev.Ref)
	render := func() (rendering, error) {
		found, err := r.v1Files(rev)
		if err != nil {
			return rendering{Origin: found.Origin}, err
		}
		if all && !rev.IsPackage() { // those of a package are asked for by commands that only look, too
			prefetch(found)
		}
		urls := make(map[string]string, len(found.Value.files))
		for _, f := range found.Value.files {
			if !all && f.Name != conan.ManifestFile {
				continue
			}
			if urls[f.Name], err = r.downloadURL(found.Value.rev, f.Name, public); err != nil {
				return rendering{}, err
			}
		}
		return renderUse(found.Value.use, conan.Answer[map[string]string]{Value: urls, Origin: found.Origin}, asIs)
	}
	if public {
		return s.kept(r, render)
	}
	rendered, err := render() // signatures name their user and expire
	if err != nil {
		return err
	}
	return r.send(rendered.Value, rendered.Origin)
}

// prefetch begins to fetch what a client that installs asks for next.
func prefetch[T any](a conan.Answer[T]) {
	if a.Prefetch != nil {
		a.Prefetch()
	}
}

// downloadURL is the URL of a file: signed, unless everybody may read it.
func (r *request) downloadURL(pinned conan.Revision, name string, public bool) (string, error) {
	path := filePath(pinned, name)
	if public {
		return r.url(path), nil
	}
	return r.signedURL(auth.Grant{Method: http.MethodGet, Path: path, View: r.view.Name, Caller: r.caller})
}

// signedURL carries its own right, in the one argument that makes clients send neither their token
// nor a probe.
func (r *request) signedURL(grant auth.Grant) (string, error) {
	signature, err := r.settings.guard.Sign(grant)
	if err != nil {
		return "", fmt.Errorf("sign the URL of %s: %w", grant.Path, err)
	}
	return r.url(grant.Path) + "?signature=" + url.QueryEscape(signature), nil
}

// v1Packages lists the binaries of all recipe revisions. A query is ignored: clients filter
// themselves.
func (s *Server) v1Packages(r *request) error {
	rev, err := r.readable()
	if err != nil {
		return err
	}
	return s.kept(r, func() (rendering, error) {
		packages, err := r.reader().AllPackages(r.ctx(), rev.Ref)
		return renderJSON(packages, err, func(packages []conan.Package) any {
			shown := make(map[string]v1Package, len(packages))
			for _, p := range packages {
				shown[p.ID] = newV1Package(p.Info)
			}
			return shown
		})
	})
}

// v1Package is one binary in an answer for Conan 1. Clients that parse content ignore the rest.
type v1Package struct {
	Content      string            `json:"content"`
	Settings     map[string]string `json:"settings"`
	Options      map[string]string `json:"options"`
	FullRequires []string          `json:"full_requires"`
	RecipeHash   *string           `json:"recipe_hash"` // null for a binary of Conan 2, which Conan 1 then hides
}

func newV1Package(text string) v1Package {
	info := conan.ParseInfo(text)
	p := v1Package{Content: text, Settings: info.Settings, Options: info.Options, FullRequires: info.FullRequires}
	if info.RecipeHash != "" {
		p.RecipeHash = &info.RecipeHash
	}
	return p
}
