package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"conanproxy/internal/conan"
)

// v1 has no revisions on the wire: reading it is reading the newest of the newest.

// v1Snapshot lists the files of a recipe or package with their md5 sums.
func (s *Server) v1Snapshot(r *request) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	return s.keptJSON(r, func(ctx context.Context) (any, error) {
		reader := r.reader()
		pinned, files, err := v1Files(ctx, reader, rev)
		if err != nil {
			return nil, err
		}
		key := digestKey{view: r.view.Name, generation: r.generation, revision: pinned}
		return s.digests.complete(ctx, key, reader, files)
	})
}

// v1Files is the newest revision of what rev names, and those of its files that Conan 1 knows.
// Other names do harm in its answers.
func v1Files(ctx context.Context, reader Reader, rev conan.Revision) (conan.Revision, conan.Snapshot, error) {
	pinned, err := reader.Newest(ctx, rev)
	if err != nil {
		return pinned, nil, err
	}
	all, err := reader.Snapshot(ctx, pinned)
	if err != nil {
		return pinned, nil, err
	}
	var files conan.Snapshot
	for _, f := range all {
		if conan.IsV1File(f.Name) {
			files = append(files, f)
		}
	}
	if _, ok := files.Find(conan.ManifestFile); !ok {
		return pinned, nil, fmt.Errorf("%s: %w: it has no %s", pinned, conan.ErrNotFound, conan.ManifestFile)
	}
	return pinned, files, nil
}

// v1Digest gives the URL of the manifest, and of nothing else: clients fetch whatever is listed.
func (s *Server) v1Digest(r *request) error {
	return s.v1URLs(r, false)
}

// v1DownloadURLs gives the URLs of all files.
func (s *Server) v1DownloadURLs(r *request) error {
	return s.v1URLs(r, true)
}

// v1URLs gives URLs that pin the revision, signed unless everybody may read them: of all files, or of the manifest.
func (s *Server) v1URLs(r *request, all bool) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	render := func(ctx context.Context) (any, error) {
		if all && !rev.IsPackage() { // those of a package are asked for by commands that only look, too
			ctx = conan.WithDownload(ctx)
		}
		pinned, files, err := v1Files(ctx, r.reader(), rev)
		if err != nil {
			return nil, err
		}
		urls := make(map[string]string, len(files))
		for _, f := range files {
			if !all && f.Name != conan.ManifestFile {
				continue
			}
			if urls[f.Name], err = s.downloadURL(r, pinned, f.Name); err != nil {
				return nil, err
			}
		}
		return urls, nil
	}
	if s.guard.AnonymousMayRead(rev.Ref) {
		return s.keptJSON(r, render)
	}
	d, err := renderJSON(r, render) // signatures name their user and expire
	if err != nil {
		return err
	}
	return r.send(d)
}

func (s *Server) downloadURL(r *request, pinned conan.Revision, name string) (string, error) {
	path := filePath(pinned, name)
	if s.guard.AnonymousMayRead(pinned.Ref) {
		return r.url(path), nil
	}
	return s.signedURL(r, Grant{Method: http.MethodGet, Path: path, User: r.caller.Name})
}

// url is the URL of an inner path as the client reaches it.
func (r *request) url(path string) string { return r.external + r.mount.prefix + path }

// signedURL carries its own right, in the one argument that makes clients send neither their token nor a probe.
func (s *Server) signedURL(r *request, grant Grant) (string, error) {
	signature, err := s.guard.Sign(grant)
	if err != nil {
		return "", fmt.Errorf("sign the URL of %s: %w", grant.Path, err)
	}
	return r.url(grant.Path) + "?signature=" + url.QueryEscape(signature), nil
}

// v1Packages lists the binaries of all recipe revisions. A query is ignored: clients filter themselves.
func (s *Server) v1Packages(r *request) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	r.merged = true
	return s.keptJSON(r, func(ctx context.Context) (any, error) {
		packages, err := r.reader().AllPackages(ctx, rev.Ref)
		if err != nil {
			return nil, err
		}
		shown := make(map[string]v1Package, len(packages))
		for _, p := range packages {
			shown[p.ID] = newV1Package(p.Info)
		}
		return shown, nil
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
