package proxy

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"conanproxy/internal/conan"
)

// search lists the references that match and that the caller may read. Whether it is 401 depends on
// rules and the pattern alone, so that it tells nothing about what is stored.
func (s *Server) search(r *request) error {
	if err := r.identify(); err != nil {
		return err
	}
	text, revision, _ := strings.Cut(r.argument("q"), "#")
	pattern, err := conan.ParsePattern(text, r.ignoresCase())
	if err != nil {
		return refuse(http.StatusBadRequest, "%s", sentence(err))
	}
	if err := r.settings.guard.MaySearch(r.caller, r.view.Members, pattern); err != nil {
		return err
	}
	return s.keptFor(r, r.settings.guard.ReadClass(r.caller), func() (rendering, error) {
		found, err := r.reader().Search(r.ctx(), pattern)
		if err == nil && strings.Contains(r.argument("q"), "#") {
			found, err = r.withRevision(found, text, revision)
		}
		return renderJSON(found, err, func(refs []conan.Ref) any {
			return map[string][]string{"results": r.searchResults(refs)}
		})
	})
}

// searchResults are references as the client can read them, sorted.
func (r *request) searchResults(refs []conan.Ref) []string {
	results := make([]string, 0, len(refs))
	for _, ref := range refs {
		if r.generation == conan.Conan1 && !ref.ValidV1() {
			continue // one such reference would abort the whole search of a Conan 1 client
		}
		results = append(results, ref.String())
	}
	slices.Sort(results)
	return slices.Compact(results)
}

// The bounds of a search that names a revision.
const (
	revisionListsAtOnce = 4
	mostRevisionLists   = 500
)

// withRevision keeps what matches a pattern with "#": the whole reference the text before it, and
// one of its recipe revisions the text after it, as conan_server does.
func (r *request) withRevision(found conan.Answer[[]conan.Ref], text, revision string) (conan.Answer[[]conan.Ref], error) {
	whole, err := conan.ParsePattern(text+"#", r.ignoresCase())
	if err != nil {
		return found, err
	}
	refs := slices.DeleteFunc(slices.Clone(found.Value), func(ref conan.Ref) bool { return !whole.Match(ref) })
	wanted := conan.Wildcard(revision)
	if revision == "" || wanted.Match(conan.MutableRevision) { // which every reference has on v1
		found.Value = refs
		return found, nil
	}
	if len(refs) > mostRevisionLists {
		return found, refuse(http.StatusBadRequest, "%d references match the part before #; name fewer", len(refs))
	}
	matches, origins := make([]bool, len(refs)), make([]conan.Origin, len(refs))
	group, ctx := errgroup.WithContext(r.ctx())
	group.SetLimit(revisionListsAtOnce)
	reader := r.reader()
	for i, ref := range refs {
		group.Go(func() error {
			list, err := reader.Revisions(ctx, conan.Revision{Ref: ref})
			origins[i] = list.Origin
			matches[i] = slices.ContainsFunc(list.Value, func(t conan.RevisionTime) bool { return !t.Hidden && wanted.Match(t.ID) })
			if conan.IsAbsent(err) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return found, err
	}
	i := -1
	found.Value = slices.DeleteFunc(refs, func(conan.Ref) bool { i++; return !matches[i] })
	found.Origin = conan.MergeOrigins(append(origins, found.Origin)...)
	return found, nil
}
