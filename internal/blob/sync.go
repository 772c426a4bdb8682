package blob

import (
	"errors"
	"os"
)

// syncer makes files and directory entries durable. Tests put one in place of osSyncer that notes
// the order or fails.
//
// Commits are not grouped: a filesystem with a journal already lets concurrent fsyncs share one
// write of the journal (measured on ext4: eight committers take as long per blob as without any
// fsync).
type syncer interface {
	file(f *os.File) error
	dir(path string) error
}

type osSyncer struct{}

func (osSyncer) file(f *os.File) error { return f.Sync() }

func (osSyncer) dir(path string) error { return SyncDir(path) }

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
