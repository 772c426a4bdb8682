package api

import (
	"cmp"
	"slices"
	"strings"

	"conanproxy/internal/index"
)

// Elsewhere tells that a member still has files with the bytes of a revision that was removed for
// good.
type Elsewhere struct {
	Member string      `json:"member"`
	Place  index.Place `json:"place"` // published, cached, trash or upload
	Files  int         `json:"files"` // of the revision
}

// erase removes revisions of a store for good: published ones, and those in its trash.
func (a *API) erase(c *Call, body inStore, store Store) (any, error) {
	source, err := c.Readable(body.In, store.EverySource())
	if err != nil {
		return nil, err
	}
	revs, err := a.chosen(c, body, source)
	if err != nil {
		return nil, err
	}
	reasons := a.Stores.Keeps(body.In)
	return c.oneChange(body.DryRun, func(dry bool) (Report, error) {
		erased, err := store.Erase(c.Context, revs, c.Actor, dry)
		return c.erasure(dry, erased).because(reasons), err
	})
}

func (c *Call) erasure(dry bool, erased []index.Erased) Report {
	r := Report{DryRun: dry, Revisions: []RevisionDone{}}
	for _, e := range erased {
		r.Revisions = append(r.Revisions, RevisionDone{
			revision: e.Revision, Revision: e.Revision.String(), Outcome: "removed", Elsewhere: c.elsewhere(e.Elsewhere),
		})
	}
	return r
}

// elsewhere counts by member and place the files that name bytes, of the references that the caller
// may read there; of the trash and of uploads those that the caller may write too.
func (c *Call) elsewhere(list []index.Naming) []Elsewhere {
	type where struct {
		member string
		place  index.Place
	}
	sums := make(map[where]map[string]bool)
	for _, n := range list {
		isPublic := n.Place == index.PlacePublished || n.Place == index.PlaceCached
		if !c.Guard.MayRead(c.Caller, n.Member, n.Ref) || !isPublic && c.Guard.MayWrite(c.Caller, n.Member, n.Ref) != nil {
			continue
		}
		w := where{n.Member, n.Place}
		if sums[w] == nil {
			sums[w] = make(map[string]bool)
		}
		sums[w][n.SHA256] = true
	}
	var out []Elsewhere
	for w, digests := range sums {
		out = append(out, Elsewhere{w.member, w.place, len(digests)})
	}
	slices.SortFunc(out, func(x, y Elsewhere) int {
		return cmp.Or(strings.Compare(x.Member, y.Member), strings.Compare(string(x.Place), string(y.Place)))
	})
	return out
}
