package conan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Revision is one node of the tree of a reference: a recipe revision, or a
// package revision if PackageID is set. An empty RRev or PRev means "newest".
// It is comparable and can be a map key.
type Revision struct {
	Ref
	RRev      string // recipe revision, hex; "0" is a mutable revision of a server without revisions
	PackageID string
	PRev      string // package revision; empty unless PackageID is set
}

// RevisionTime is a revision id (RREV or PREV) and the time of its publication.
// Times of an upstream pass through unchanged; the local store's are strictly
// increasing per reference. Precision is a microsecond, the zone UTC.
type RevisionTime struct {
	ID   string
	Time time.Time

	// Since is when the member last answered about the same reference or package id without this
	// revision; of one without a Time it is when the member first listed it. Zero: neither
	// happened.
	Since time.Time `json:",omitzero"`
	// Dropped means that the upstream does not list the revision any more, so that it is no newest
	// one while the upstream lists others.
	Dropped bool `json:",omitzero"`
	// Hidden means that a rule keeps the revision from answers about the newest. In a list it
	// stands after all that are not, so that a client which pinned it finds it and is told why.
	Hidden bool `json:",omitzero"`
}

// Appeared is the earliest time at which the revision can have been published: a member's clock
// cannot make it older than an answer that lacked it.
func (r RevisionTime) Appeared() time.Time {
	if r.Since.After(r.Time) {
		return r.Since
	}
	return r.Time
}

// Earlier is the earlier of two times; a zero one is not known and does not count.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// MutableRevision is the revision id of content that a server without revisions
// may overwrite in place.
const MutableRevision = "0"

// NewRevision validates the ids and makes a Revision; empty ids are allowed and mean "newest".
func NewRevision(ref Ref, rrev, packageID, prev string) (Revision, error) {
	ids := []struct{ what, value string }{{"recipe revision", rrev}, {"package id", packageID}, {"package revision", prev}}
	for _, id := range ids {
		if id.value != "" && !ValidRevisionID(id.value) {
			return Revision{}, fmt.Errorf("%w: %s %q of %s is not 1 to 64 letters and digits", ErrInvalid, id.what, clip(id.value), ref)
		}
	}
	if prev != "" && packageID == "" {
		return Revision{}, fmt.Errorf("%w: package revision without a package id in %s", ErrInvalid, ref)
	}
	return Revision{Ref: ref, RRev: rrev, PackageID: packageID, PRev: prev}, nil
}

// ValidRevisionID tells whether s can be an RREV, PREV or package id.
func ValidRevisionID(s string) bool {
	const most = 64
	for i := range len(s) {
		if !isAlphanumeric(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// IsPackage tells a package revision from a recipe revision.
func (r Revision) IsPackage() bool { return r.PackageID != "" }

// Pinned tells whether every id that the node needs is named.
func (r Revision) Pinned() bool {
	return r.RRev != "" && (r.PackageID == "" || r.PRev != "")
}

// Recipe is the recipe revision that the node belongs to.
func (r Revision) Recipe() Revision { return Revision{Ref: r.Ref, RRev: r.RRev} }

// With returns the node with its own last id set: PRev of a package, else RRev.
func (r Revision) With(id string) Revision {
	if r.IsPackage() {
		r.PRev = id
	} else {
		r.RRev = id
	}
	return r
}

// ID is the node's own last id: PRev of a package, else RRev.
func (r Revision) ID() string {
	if r.IsPackage() {
		return r.PRev
	}
	return r.RRev
}

// Mutable tells whether the content may change under the same ids (revision "0").
func (r Revision) Mutable() bool {
	return r.RRev == MutableRevision || r.PRev == MutableRevision
}

// WithRecipes are the revisions, each once and sorted, with the recipe revisions of packages.
func WithRecipes(revs []Revision) []Revision {
	all := make([]Revision, 0, 2*len(revs))
	for _, rev := range revs {
		all = append(all, rev.Recipe(), rev)
	}
	slices.SortFunc(all, Revision.Compare)
	return slices.Compact(all)
}

// Compare orders revisions by reference, recipe revision, package id and package revision, so that a
// recipe stands before its packages.
func (r Revision) Compare(o Revision) int {
	return cmp.Or(
		strings.Compare(r.Name, o.Name), strings.Compare(r.Version, o.Version),
		strings.Compare(r.User, o.User), strings.Compare(r.Channel, o.Channel),
		strings.Compare(r.RRev, o.RRev), strings.Compare(r.PackageID, o.PackageID), strings.Compare(r.PRev, o.PRev))
}

// String is Conan's form: ref[#rrev][:package_id[#prev]].
func (r Revision) String() string {
	s := r.Ref.String()
	if r.RRev != "" {
		s += "#" + r.RRev
	}
	if r.PackageID != "" {
		s += ":" + r.PackageID
	}
	if r.PRev != "" {
		s += "#" + r.PRev
	}
	return s
}
