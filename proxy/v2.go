package proxy

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// v2Revision is one revision in an answer.
type v2Revision struct {
	Revision string `json:"revision"`
	Time     string `json:"time"`
}

func newV2Revision(t conan.RevisionTime) v2Revision {
	return v2Revision{Revision: t.ID, Time: wireTime(t.Time)}
}

// wireTime writes a time with a zone and microseconds. The first second of 1970 is never written:
// clients die of it.
func wireTime(t time.Time) string {
	if t.Unix() <= 0 {
		t = time.Unix(1, 0)
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000-07:00")
}

// v2Latest names the newest recipe revision, or the newest revision of a package.
func (s *Server) v2Latest(r *request) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	return s.keptJSON(r, func(ctx context.Context) (any, error) {
		latest, err := r.reader().Latest(conan.WithDownload(ctx), rev)
		if err != nil {
			return nil, err
		}
		return newV2Revision(latest), nil
	})
}

// v2Revisions lists the revisions, newest first: clients go by the position.
func (s *Server) v2Revisions(r *request) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	r.merged = true
	return s.keptJSON(r, func(ctx context.Context) (any, error) {
		list, err := r.reader().Revisions(ctx, rev)
		if err != nil {
			return nil, err
		}
		shown := make([]v2Revision, 0, len(list))
		for _, t := range list {
			shown = append(shown, newV2Revision(t))
		}
		return map[string][]v2Revision{"revisions": shown}, nil
	})
}

// v2Files lists the names of the files of a revision; clients look at nothing else.
func (s *Server) v2Files(r *request) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	return s.keptJSON(r, func(ctx context.Context) (any, error) {
		files, err := r.reader().Snapshot(conan.WithDownload(ctx), rev)
		if err != nil {
			return nil, err
		}
		shown := make(map[string]struct{}, len(files))
		for _, f := range files {
			shown[f.Name] = struct{}{}
		}
		return map[string]map[string]struct{}{"files": shown}, nil
	})
}

// v2Packages lists the binaries of a recipe revision, of the newest one if the path names none.
func (s *Server) v2Packages(r *request) error {
	recipe, err := s.readable(r)
	if err != nil {
		return err
	}
	idsOnly := strings.EqualFold(r.QueryParam("list_only"), "true")
	r.merged = true
	return s.keptJSON(r, func(ctx context.Context) (any, error) {
		pinned, err := pin(r, recipe)
		if err != nil {
			return nil, err
		}
		packages, err := r.reader().Packages(ctx, pinned, idsOnly)
		if err != nil {
			return nil, err
		}
		shown := make(map[string]v2Package, len(packages))
		for _, p := range packages {
			shown[p.ID] = newV2Package(p.Info, idsOnly)
		}
		return shown, nil
	})
}

// v2Package is one binary in an answer for both generations of clients. Binaries of Conan 1 have
// the parsed form too: by recipe_hash Conan 2 hides them, and Conan 1 hides what lacks it.
type v2Package struct {
	Content *string `json:"content,omitempty"` // clients parse it themselves
	*v1Parsed
}

type v1Parsed struct {
	Settings     map[string]string `json:"settings"`
	Options      map[string]string `json:"options"`
	FullRequires []string          `json:"full_requires"`
	RecipeHash   string            `json:"recipe_hash"`
}

func newV2Package(text string, idOnly bool) v2Package {
	if idOnly {
		return v2Package{}
	}
	p := v2Package{Content: &text}
	if info := conan.ParseInfo(text); info.RecipeHash != "" {
		p.v1Parsed = &v1Parsed{Settings: info.Settings, Options: info.Options, FullRequires: info.FullRequires, RecipeHash: info.RecipeHash}
	}
	return p
}

// v2GetFile serves a file of a revision.
func (s *Server) v2GetFile(r *request) error {
	rev, err := s.readable(r)
	if err != nil {
		return err
	}
	name, err := r.fileName()
	if err != nil {
		return err
	}
	return s.getFile(r, rev, name)
}

// v2PutFile takes a file of a revision, or links it to bytes that are here already.
func (s *Server) v2PutFile(r *request) error {
	rev, err := s.writable(r, http.StatusBadRequest)
	if err != nil {
		return err
	}
	name, err := r.fileName()
	if err != nil {
		return err
	}
	up := conan.Upload{Revision: rev, Name: name, User: r.caller.Name, Size: r.Request().ContentLength}
	if isProbe(r.Request()) {
		return s.link(r, up)
	}
	return s.receive(r, up)
}

// link answers a checksum-deploy: 201 if the bytes were here and the caller may read them, else 404, after
// which the client sends the file. Whatever else is wrong, that upload will tell.
func (s *Server) link(r *request, up conan.Upload) error {
	sum, err := checksum(r.Request())
	if err != nil {
		return err
	}
	if err := r.emptyBody(); err != nil {
		return err
	}
	up.SHA1, up.Size = sum, -1
	err = conan.ErrNotFound
	if sum != "" {
		mayRead := func(ref conan.Ref) bool { return s.guard.MayRead(r.caller, ref) == nil }
		err = s.publisher.Link(r.ctx(), up, mayRead)
	}
	if err != nil {
		if judge(err).status == http.StatusInternalServerError {
			s.log.Warn("link by checksum", zap.Stringer("revision", up.Revision), zap.String("file", up.Name), zap.Error(err))
		}
		return refuse(http.StatusNotFound, "send the file: it cannot be linked by its checksum")
	}
	r.stored()
	return r.text(http.StatusCreated, "")
}

// v2RemovePackages deletes all packages of a recipe revision.
func (s *Server) v2RemovePackages(r *request) error {
	recipe, err := s.writable(r, http.StatusMethodNotAllowed)
	if err != nil {
		return err
	}
	return s.removeSelected(r, conan.Removal{Revision: recipe, AllPackages: true})
}
