package cache

import (
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// revisionList is what is remembered of the revisions of a reference or package id.
type revisionList struct {
	// Listed is what upstream told of last, newest first, never empty.
	Listed []conan.RevisionTime
	// Left is what earlier answers had and the last one lacks, the last to leave first.
	Left []conan.RevisionTime `json:",omitempty"`
	// Whole is the time of the last answer that lacked all the others: upstream's own list, or that
	// there is nothing. Zero: there was none. It is not always that of Listed, since an upstream
	// may tell the newest revision and fail to list.
	Whole time.Time `json:",omitzero"`
}

// mostLeft bounds revisionList.Left, for an upstream that lists other revisions each time.
const mostLeft = 10_000

// find returns a revision that upstream lists or listed earlier.
func (l revisionList) find(id string) (conan.RevisionTime, bool) {
	for _, list := range [][]conan.RevisionTime{l.Listed, l.Left} {
		if i := slices.IndexFunc(list, func(r conan.RevisionTime) bool { return r.ID == id }); i >= 0 {
			return list[i], true
		}
	}
	return conan.RevisionTime{}, false
}

// isListed tells by id which revisions upstream lists.
func (l revisionList) isListed() map[string]bool {
	ids := make(map[string]bool, len(l.Listed))
	for _, r := range l.Listed {
		ids[r.ID] = true
	}
	return ids
}

// since tells the Since of revisions by id, also of those that left.
func (l revisionList) since() map[string]time.Time {
	times := make(map[string]time.Time, len(l.Listed)+len(l.Left))
	for _, list := range [][]conan.RevisionTime{l.Listed, l.Left} {
		for _, r := range list {
			times[r.ID] = r.Since
		}
	}
	return times
}

// after completes a new list that replaces an earlier one: what the earlier one had or has seen
// leave keeps its Since, and the others were absent when the earlier one was whole.
func (l revisionList) after(earlier revisionList, now time.Time) revisionList {
	since := earlier.since()
	for i := range l.Listed {
		r := &l.Listed[i]
		var isKnown bool
		if r.Since, isKnown = since[r.ID]; !isKnown {
			r.Since = earlier.Whole
		}
		if r.Time.IsZero() && r.Since.IsZero() {
			r.Since = now
		}
	}
	listed := l.isListed()
	left := slices.DeleteFunc(slices.Concat(earlier.Listed, earlier.Left), func(r conan.RevisionTime) bool { return listed[r.ID] })
	l.Left = slices.Clone(left[:min(len(left), mostLeft)])
	if l.Whole.IsZero() {
		l.Whole = earlier.Whole
	}
	return l
}
