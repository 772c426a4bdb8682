package upstream

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"conanproxy/internal/conan"
)

// v2 is the dialect with revisions.
type v2 struct{ *Remote }

func (v2) searchPath() string { return "/v2/conans/search" }

// recipePath is the path of a reference, or of its recipe revision if that is named.
func recipePath(rev conan.Revision) string {
	path := "/v2/conans/" + rev.Ref.Path()
	if rev.RRev != "" {
		path += "/revisions/" + rev.RRev
	}
	return path
}

// listPath is the path below which the revisions of a recipe or of a package id are listed.
func listPath(rev conan.Revision) string {
	if rev.IsPackage() {
		return recipePath(rev) + "/packages/" + rev.PackageID
	}
	return recipePath(conan.Revision{Ref: rev.Ref})
}

// filesPath is the path of the file list of a pinned revision.
func filesPath(rev conan.Revision) string {
	path := recipePath(rev)
	if rev.IsPackage() {
		path += "/packages/" + rev.PackageID + "/revisions/" + rev.PRev
	}
	return path + "/files"
}

// stamped is a revision as v2 writes it.
type stamped struct {
	Revision string          `json:"revision"`
	Time     json.RawMessage `json:"time"`
}

func (s stamped) revision() (conan.RevisionTime, error) {
	if !conan.ValidRevisionID(s.Revision) {
		return conan.RevisionTime{}, badAnswer("answered with a revision that is not one")
	}
	t, ok := parseTime(s.Time)
	if !ok {
		return conan.RevisionTime{}, badAnswer("answered with a revision without a usable time")
	}
	return conan.RevisionTime{ID: s.Revision, Time: t}, nil
}

func (v v2) revisions(ctx context.Context, rev conan.Revision, latestOnly bool) ([]conan.RevisionTime, error) {
	var list []stamped
	if latestOnly {
		list = make([]stamped, 1)
		if err := v.object(ctx, listPath(rev)+"/latest", nil, &list[0]); err != nil {
			return nil, err
		}
	} else {
		var answer struct {
			Revisions *[]stamped `json:"revisions"`
		}
		if err := v.object(ctx, listPath(rev)+"/revisions", nil, &answer); err != nil {
			return nil, err
		}
		if answer.Revisions == nil {
			return nil, badAnswer("answered without a list of revisions")
		}
		list = *answer.Revisions
	}
	return readRevisions(list)
}

// readRevisions keeps the order of upstream, and of doubles the first.
func readRevisions(list []stamped) ([]conan.RevisionTime, error) {
	if len(list) == 0 {
		return nil, errNotThere
	}
	revisions := make([]conan.RevisionTime, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		revision, err := s.revision()
		if err != nil {
			return nil, err
		}
		if !seen[revision.ID] {
			seen[revision.ID] = true
			revisions = append(revisions, revision)
		}
	}
	return revisions, nil
}

func (v v2) snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	var answer struct {
		Files *map[string]json.RawMessage `json:"files"`
	}
	if err := v.object(ctx, filesPath(rev), nil, &answer); err != nil {
		return nil, err
	}
	if answer.Files == nil {
		return nil, badAnswer("answered without a list of files")
	}
	snapshot := make(conan.Snapshot, 0, len(*answer.Files))
	dropped := 0
	for name, value := range *answer.Files {
		if conan.CheckFileName(name, rev.IsPackage()) != nil {
			dropped++
			continue
		}
		snapshot = append(snapshot, fileInfo(name, value))
	}
	v.countDropped("file names", dropped)
	snapshot.Sort()
	if _, ok := snapshot.Find(conan.ManifestFile); !ok {
		return nil, errNotThere
	}
	return snapshot, nil
}

// fileInfo reads the details of a file in a list; most servers send none.
func fileInfo(name string, value json.RawMessage) conan.FileInfo {
	info := conan.FileInfo{Name: name, Size: -1}
	var told map[string]any
	if json.Unmarshal(value, &told) != nil {
		return info
	}
	text := func(key string) string { s, _ := told[key].(string); return s }
	info.MD5 = hexDigest(text("md5"), 32)
	info.SHA1 = hexDigest(text("sha1"), 40)
	info.SHA256 = hexDigest(text("sha256"), 64)
	size := text("size")
	if n, ok := told["size"].(float64); ok {
		size = strconv.FormatFloat(n, 'f', -1, 64)
	}
	if n, err := strconv.ParseUint(size, 10, 63); err == nil {
		info.Size = int64(n)
	}
	return info
}

// fileURL is the URL of a file, whose name may be a path below metadata/ with any characters.
func (v v2) fileURL(rev conan.Revision, name string) (*url.URL, error) {
	if err := conan.CheckFileName(name, rev.IsPackage()); err != nil {
		return nil, errNotThere
	}
	segments := strings.Split(name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return v.address(filesPath(rev)+"/"+strings.Join(segments, "/"), nil)
}

func (v v2) open(ctx context.Context, rev conan.Revision, name string) (*conan.Download, error) {
	u, err := v.fileURL(rev, name)
	if err != nil {
		return nil, err
	}
	b, err := v.transfer(ctx, name, func(_ context.Context, again bool) (*url.URL, error) {
		if again {
			return nil, errNotThere
		}
		return u, nil
	})
	if err != nil {
		return nil, err
	}
	return &conan.Download{FileInfo: b.info(), ReadCloser: b, Validator: b.version.validator()}, nil
}

func (v v2) packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	query := url.Values{"list_only": {"False"}}
	if idsOnly {
		query.Set("list_only", "True")
	}
	var answer binaries
	err := v.object(ctx, recipePath(recipe)+"/search", query, &answer)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if len(answer) == 0 { // some servers say so of unknown recipes too, others answer 404 for known ones
		if _, err := v.snapshot(ctx, recipe); err != nil {
			return nil, err
		}
		return []conan.Package{}, nil
	}
	packages, dropped := answer.list(idsOnly)
	v.countDropped("package ids", dropped)
	return packages, nil
}
