package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/proxy/resolver"
)

// Details is what the index knows of revisions beside what a Source tells.
type Details interface {
	// Detail is that of a pinned revision in a member; zero if it is not stored.
	Detail(ctx context.Context, member string, rev conan.Revision) (index.Detail, error)
}

// KeyedPage is a part of a list that is sorted by a text. Next is the argument "after" of the next
// one; empty: there is none.
type KeyedPage[T any] struct {
	Lines []T    `json:"lines"`
	Next  string `json:"next"`
}

// pageAfter cuts the page that the query arguments name out of a list, which is sorted by key.
func pageAfter[T any](c *Call, list []T, key func(T) string) (KeyedPage[T], error) {
	limit, err := c.number("limit", usualPage, 1, mostPage)
	if err != nil {
		return KeyedPage[T]{}, err
	}
	after := c.Query.Get("after")
	i, found := slices.BinarySearchFunc(list, after, func(line T, after string) int { return strings.Compare(key(line), after) })
	if found {
		i++
	}
	page := KeyedPage[T]{Lines: slices.Clone(list[i:min(i+int(limit), len(list))])}
	if page.Lines == nil {
		page.Lines = []T{}
	}
	if i+len(page.Lines) < len(list) {
		page.Next = key(page.Lines[len(page.Lines)-1])
	}
	return page, nil
}

// ReferenceLine is one reference.
type ReferenceLine struct {
	Reference string   `json:"reference"`
	Members   []string `json:"members"` // that have it, in order
}

// references lists what a search finds, sorted.
func (a *API) references(c *Call) (any, error) {
	pattern, err := conan.ParsePattern(c.Query.Get("q"), true)
	if err != nil {
		return nil, err
	}
	trace, members, err := c.Trace(c.Query.Get("view"), conan.AnyGeneration)
	if err != nil {
		return nil, err
	}
	if err := c.Guard.MaySearch(c.Caller, members, pattern); err != nil {
		return nil, err
	}
	found, err := trace.Search(c.Context, pattern)
	if err != nil {
		return nil, err
	}
	refs, err := pageAfter(c, found.Value, conan.Ref.String)
	if err != nil {
		return nil, err
	}
	having := trace.Finders(refs.Lines)
	page := KeyedPage[ReferenceLine]{Lines: []ReferenceLine{}, Next: refs.Next}
	for _, ref := range refs.Lines {
		page.Lines = append(page.Lines, ReferenceLine{ref.String(), having[ref]})
	}
	return page, nil
}

// readable is a Trace for a reference that the caller may read in a member of the view that is
// asked for.
func (c *Call) readable(ref conan.Ref, client conan.Generation) (*resolver.Trace, error) {
	trace, members, err := c.Trace(c.Query.Get("view"), client)
	if err != nil {
		return nil, err
	}
	_, err = c.Guard.ReadableIn(c.Caller, members, ref)
	return trace, err
}

// RevisionLine is one revision in one member.
type RevisionLine struct {
	RevisionSaid
	Member   string `json:"member"`
	Uploader string `json:"uploader"` // who published it there; empty: anonymous, or not published here
	Bytes    int64  `json:"bytes"`    // of its files that are stored here
}

// revisions lists the recipe revisions of a reference, or the package revisions of a package id, in
// every member that has them, the newest first.
func (a *API) revisions(c *Call) (any, error) {
	rev, err := conan.ParseRevision(c.Query.Get("reference"))
	if err != nil {
		return nil, err
	}
	trace, err := c.readable(rev.Ref, conan.AnyGeneration)
	if err != nil {
		return nil, err
	}
	if rev.IsPackage() && rev.RRev == "" {
		return nil, fmt.Errorf("%w: name the recipe revision of the package id", conan.ErrInvalid)
	}
	node := rev.With("")
	merged, err := trace.Revisions(c.Context, node)
	if err != nil {
		return nil, err
	}
	page, err := pageAfter(c, inMembers(trace, node, merged.Value), func(l keyedRevision) string { return l.key })
	if err != nil {
		return nil, err
	}
	lines := KeyedPage[RevisionLine]{Lines: []RevisionLine{}, Next: page.Next}
	for _, l := range page.Lines {
		d, err := a.Details.Detail(c.Context, l.member, node.With(l.ID))
		if err != nil {
			return nil, err
		}
		lines.Lines = append(lines.Lines, RevisionLine{revisionSaid(node, l.RevisionTime), l.member, d.Uploader, d.Bytes})
	}
	return lines, nil
}

// keyedRevision is a revision in a member. Its key sorts the newest first, and the same revision in
// several members in their order.
type keyedRevision struct {
	conan.RevisionTime
	member, key string
}

// inMembers lists in which members the revisions of a merged list are.
func inMembers(trace *resolver.Trace, node conan.Revision, merged []conan.RevisionTime) []keyedRevision {
	times := make(map[string]time.Time, len(merged))
	for _, r := range merged {
		times[r.ID] = r.Time
	}
	var lines []keyedRevision
	for i, s := range trace.Standings(node.Ref) {
		listed := make(map[string]bool)
		for _, said := range slices.Backward(trace.Said(s.Member)) {
			if said.Of != node || said.Err != nil || len(listed) > 0 {
				continue
			}
			for _, r := range said.Revisions {
				listed[r.ID] = true
				key := fmt.Sprintf("%019d-%s-%03d", maxMicros-times[r.ID].UnixMicro(), r.ID, i)
				lines = append(lines, keyedRevision{r, s.Member, key})
			}
		}
	}
	slices.SortFunc(lines, func(a, b keyedRevision) int { return strings.Compare(a.key, b.key) })
	return lines
}

// maxMicros is more than the microseconds of any time of a revision.
const maxMicros = 1 << 60

// BinaryLine is the newest revision of one package id.
type BinaryLine struct {
	PackageID string            `json:"package_id"`
	Revision  string            `json:"revision"` // without a package revision if that could not be told in time
	Settings  map[string]string `json:"settings"`
	Options   map[string]string `json:"options"`
	Requires  []string          `json:"requires"`
	Member    string            `json:"member,omitempty"`
	Time      *time.Time        `json:"time,omitempty"`
	Uploader  string            `json:"uploader"`
	Bytes     int64             `json:"bytes"` // of its files that are stored here
}

// binaries lists the package ids of a recipe revision, of the newest one if none is named, by their
// ids.
func (a *API) binaries(c *Call) (any, error) {
	rev, err := conan.ParseRevision(c.Query.Get("reference"))
	if err != nil {
		return nil, err
	}
	query, err := conan.ParseQuery(c.Query.Get("query"))
	if err != nil {
		return nil, err
	}
	trace, err := c.readable(rev.Ref, conan.AnyGeneration)
	if err != nil {
		return nil, err
	}
	recipe, err := trace.Newest(c.Context, rev.Recipe())
	if err != nil {
		return nil, err
	}
	list, err := trace.Packages(c.Context, recipe.Value, false)
	if err != nil {
		return nil, err
	}
	matching := list.Value
	if !query.IsZero() {
		matching = slices.DeleteFunc(slices.Clone(list.Value), func(p conan.Package) bool { return !query.Match(conan.ParseInfo(p.Info)) })
	}
	page, err := pageAfter(c, matching, func(p conan.Package) string { return p.ID })
	if err != nil {
		return nil, err
	}
	lines, err := a.binaryLines(c, trace, recipe.Value, page.Lines)
	return KeyedPage[BinaryLine]{Lines: lines, Next: page.Next}, err
}

func (a *API) binaryLines(c *Call, trace *resolver.Trace, recipe conan.Revision, list []conan.Package) ([]BinaryLine, error) {
	nodes := make([]conan.Revision, len(list))
	for i, p := range list {
		nodes[i] = recipe
		nodes[i].PackageID = p.ID
	}
	newest := newestOf(c.Context, trace, nodes)
	lines := []BinaryLine{}
	for i, p := range list {
		info, rev := conan.ParseInfo(p.Info), nodes[i].With(newest[i].Value.ID)
		line := BinaryLine{
			PackageID: p.ID, Revision: rev.String(), Settings: info.Settings, Options: info.Options, Requires: info.Requires,
			Member: newest[i].Origin.Member, Time: known(newest[i].Value.Time),
		}
		if rev.Pinned() {
			d, err := a.Details.Detail(c.Context, line.Member, rev)
			if err != nil {
				return nil, err
			}
			line.Uploader, line.Bytes = d.Uploader, d.Bytes
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// FilesPage are files of one revision.
type FilesPage struct {
	Revision string `json:"revision"`
	Member   string `json:"member"` // that they come from
	KeyedPage[FileLine]
}

// FileLine is one file.
type FileLine struct {
	Name   string `json:"name"`
	Size   *int64 `json:"size,omitempty"` // missing: not known yet
	SHA256 string `json:"sha256,omitempty"`
	MD5    string `json:"md5,omitempty"`
}

// files lists the files of a revision, of the newest one if none is named.
func (a *API) files(c *Call) (any, error) {
	rev, err := conan.ParseRevision(c.Query.Get("reference"))
	if err != nil {
		return nil, err
	}
	trace, err := c.readable(rev.Ref, conan.AnyGeneration)
	if err != nil {
		return nil, err
	}
	pinned, err := trace.Newest(c.Context, rev)
	if err != nil {
		return nil, err
	}
	files, err := trace.Snapshot(c.Context, pinned.Value)
	if err != nil {
		return nil, err
	}
	page, err := pageAfter(c, files.Value, func(f conan.FileInfo) string { return f.Name })
	if err != nil {
		return nil, err
	}
	out := FilesPage{Revision: pinned.Value.String(), Member: files.Origin.Member}
	out.Lines, out.Next = []FileLine{}, page.Next
	for _, f := range page.Lines {
		line := FileLine{Name: f.Name, SHA256: f.SHA256, MD5: f.MD5}
		if f.Size >= 0 {
			line.Size = &f.Size
		}
		out.Lines = append(out.Lines, line)
	}
	return out, nil
}
