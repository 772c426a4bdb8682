package proxy

import (
	"time"

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
	rev, err := r.readable()
	if err != nil {
		return err
	}
	return s.kept(r, func() (rendering, error) {
		latest, err := r.reader().Latest(r.ctx(), rev)
		prefetch(latest)
		return renderJSON(latest, err, func(t conan.RevisionTime) any { return newV2Revision(t) })
	})
}

// v2Revisions lists the revisions, newest first: clients go by the position.
func (s *Server) v2Revisions(r *request) error {
	rev, err := r.readable()
	if err != nil {
		return err
	}
	return s.kept(r, func() (rendering, error) {
		list, err := r.reader().Revisions(r.ctx(), rev)
		return renderJSON(list, err, func(list []conan.RevisionTime) any {
			shown := make([]v2Revision, 0, len(list))
			for _, t := range list {
				shown = append(shown, newV2Revision(t))
			}
			return map[string][]v2Revision{"revisions": shown}
		})
	})
}

// v2Files lists the names of the files of a revision; clients look at nothing else.
func (s *Server) v2Files(r *request) error {
	rev, err := r.readable()
	if err != nil {
		return err
	}
	return s.kept(r, func() (rendering, error) {
		files, err := r.reader().Snapshot(r.ctx(), rev)
		if err != nil {
			return rendering{Origin: files.Origin}, err
		}
		prefetch(files)
		return renderUse(use{files.Origin.Member, rev}, files, func(files conan.Snapshot) any {
			shown := make(map[string]struct{}, len(files))
			for _, f := range files {
				shown[f.Name] = struct{}{}
			}
			return map[string]map[string]struct{}{"files": shown}
		})
	})
}

// v2Packages lists the binaries of a recipe revision, of the newest one if the path names none.
func (s *Server) v2Packages(r *request) error {
	recipe, err := r.readable()
	if err != nil {
		return err
	}
	idsOnly := r.listsIDsOnly()
	return s.kept(r, func() (rendering, error) {
		pinned, err := r.pin(recipe)
		if err != nil {
			return rendering{Origin: pinned.Origin}, err
		}
		packages, err := r.reader().Packages(r.ctx(), pinned.Value, idsOnly)
		if pinned.Origin.State != "" {
			packages.Origin = conan.MergeOrigins(pinned.Origin, packages.Origin)
		}
		return renderJSON(packages, err, func(packages []conan.Package) any {
			shown := make(map[string]v2Package, len(packages))
			for _, p := range packages {
				shown[p.ID] = newV2Package(p.Info, idsOnly)
			}
			return shown
		})
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
