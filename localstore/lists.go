package localstore

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"conanproxy/internal/conan"
)

// lists keeps the lists of files that were asked for in memory, so that a warm download reads no rows. A list is true until
// anything changes about its reference.
type lists struct {
	kept    *lru.Cache[conan.Revision, list]
	changes conan.Changes
}

type list struct {
	files   conan.Snapshot // never modified
	changes uint64         // when it was read
}

func newLists() (*lists, error) {
	const most = 4096
	kept, err := lru.New[conan.Revision, list](most)
	if err != nil {
		return nil, fmt.Errorf("local store: %w", err)
	}
	return &lists{kept: kept}, nil
}

// get returns the list of a revision, nil if none is kept, and the number of changes that one which is read now must be put with.
func (l *lists) get(rev conan.Revision) (files conan.Snapshot, changes uint64) {
	changes = l.changes.Of(rev.Ref).Load()
	if kept, ok := l.kept.Get(rev); ok && kept.changes == changes {
		return kept.files, changes
	}
	return nil, changes
}

// put keeps a list unless it is long: most have two to six files.
func (l *lists) put(rev conan.Revision, files conan.Snapshot, changes uint64) {
	const longest = 16
	if len(files) <= longest {
		l.kept.Add(rev, list{files, changes})
	}
}

// forget is called after rows of a reference changed.
func (l *lists) forget(ref conan.Ref) { l.changes.Of(ref).Add(1) }
