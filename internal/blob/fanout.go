package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// fanout is what is known of one of the 256 folders that blobs are spread over, by the first two
// characters of their digests.
type fanout struct {
	mu      sync.Mutex
	made    bool // the folder is there, and that survives a crash
	durable bool // every name in it survives a crash, but for those that are being committed just now
}

// fanoutOf is the folder of a valid digest.
func (d *Disk) fanoutOf(digest Digest) *fanout {
	return &d.fanout[unhex(digest[0])<<4|unhex(digest[1])]
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// create makes the folder durably if it is not there. Its own name is synced even if it is: the
// process that made it may have ended before that.
func (f *fanout) create(s syncer, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made {
		return nil
	}
	err := os.Mkdir(dir, dirMode)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = s.dir(filepath.Dir(dir))
	}
	f.made = err == nil
	return err
}

// MakeFolders makes the folders that blobs will need, so that no blob has to make and sync its own.
// The store works without it, and while it runs.
func (d *Disk) MakeFolders(ctx context.Context) error {
	for i := range d.fanout {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(d.root(), fmt.Sprintf("%02x", i)), dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the folders of blobs: %w", err)
		}
	}
	if err := d.sync.dir(d.root()); err != nil {
		return fmt.Errorf("make the folders of blobs: %w", err)
	}
	for i := range d.fanout {
		d.fanout[i].markMade()
	}
	return nil
}

// markMade notes that the folder is there durably.
func (f *fanout) markMade() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = true
}

// flush makes the names in the folder durable.
func (f *fanout) flush(s syncer, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushLocked(s, dir)
}

func (f *fanout) flushLocked(s syncer, dir string) error {
	err := s.dir(dir)
	f.durable = err == nil
	return err
}

// ensureDurable makes the name of a blob that was found durable: an earlier process may have ended,
// or its fsync failed, after the rename. Once is enough.
func (f *fanout) ensureDurable(s syncer, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.durable {
		return nil
	}
	return f.flushLocked(s, dir)
}
