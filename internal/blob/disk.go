package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// Disk is the Store on a local filesystem:
//
//	dir/sha256/ab/cdef…   a blob; ab are the first two characters of its digest. It is complete and
//	                      durable if its owner may not write it; else it was staged, and a power
//	                      failure may have damaged it
//	dir/tmp/              being written; emptied by NewDisk
//	dir/damaged/          set aside because their bytes do not have their digest
//	dir/orphaned/         set aside because the index did not know them
//
// One process owns the directory.
type Disk struct {
	dir        string
	inlineHash int64
	sync       syncer
	locks      locks
	chunks     sync.Pool // of *chunk, for hashing beside the writing
	temp       atomic.Int64
	staged     sync.Map // Digest → nil: staged by this process, so its bytes are known to be right
	fanout     [256]fanout
}

var _ Store = (*Disk)(nil)

// DiskOptions are the options of NewDisk; the zero value is right for a server.
type DiskOptions struct {
	// InlineHash is the number of bytes up to which a blob is hashed by the goroutine that writes
	// it; what comes after them is hashed beside the writing, on other cores. 0 means 256 KiB.
	InlineHash int64
}

// NewDisk opens the store at dir, which is made if it is not there. What an earlier process left
// unfinished in dir/tmp is removed.
func NewDisk(dir string, o DiskOptions) (*Disk, error) {
	if o.InlineHash <= 0 {
		o.InlineHash = 256 << 10
	}
	d := &Disk{dir: dir, inlineHash: o.InlineHash, sync: osSyncer{}}
	d.chunks.New = func() any { return newChunk() }
	if err := os.RemoveAll(d.tempDir()); err != nil {
		return nil, fmt.Errorf("empty the folder of unfinished blobs: %w", err)
	}
	if err := d.makeDirs(); err != nil {
		return nil, fmt.Errorf("make the folders of blobs: %w", err)
	}
	return d, nil
}

// makeDirs makes the folders that every blob needs and syncs what lies above, also for the sake of
// an earlier process that made folders and ended before it synced them.
func (d *Disk) makeDirs() error {
	for _, dir := range []string{d.tempDir(), d.root()} {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return err
		}
	}
	for _, dir := range []string{d.root(), d.dir, filepath.Dir(d.dir)} {
		if err := d.sync.dir(dir); err != nil {
			return err
		}
	}
	return nil
}

// dirMode lets a group read, for backups.
const dirMode = 0o750

func (d *Disk) tempDir() string { return filepath.Join(d.dir, "tmp") }

func (d *Disk) root() string { return filepath.Join(d.dir, "sha256") }

// path is where a blob of a valid digest lies.
func (d *Disk) path(digest Digest) string {
	return filepath.Join(d.root(), string(digest[:2]), string(digest[2:]))
}

// Create implements Store.
func (d *Disk) Create(ctx context.Context) (Writer, error) {
	w, err := d.newWriter(ctx)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (d *Disk) newWriter(ctx context.Context) (*diskWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(d.tempDir(), "blob-*")
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", spaceError(err))
	}
	return &diskWriter{disk: d, file: f, hash: newHasher(d.inlineHash, &d.chunks)}, nil
}

// Open implements Store; the Reader is an *os.File. A small blob is compared with its digest first;
// one that is damaged is set aside and not found from then on.
func (d *Disk) Open(ctx context.Context, digest Digest) (Reader, error) {
	f, err := d.open(ctx, digest)
	if err != nil {
		return nil, err
	}
	good, err := intactIfSmall(f, digest)
	if err == nil && good {
		return f, nil
	}
	f.Close()
	if err == nil {
		if err = d.SetAside(ctx, digest, Damaged); err == nil || errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("the bytes were damaged: %w", ErrNotFound)
		}
	}
	return nil, fmt.Errorf("open blob %s: %w", digest, err)
}

func (d *Disk) open(ctx context.Context, digest Digest) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !digest.Valid() {
		return nil, fmt.Errorf("open blob %.80q: %w", digest, ErrNotFound)
	}
	f, err := os.Open(d.path(digest))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest, notFoundError(err))
	}
	return f, nil
}

// Stat implements Store.
func (d *Disk) Stat(ctx context.Context, digest Digest) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if !digest.Valid() {
		return 0, fmt.Errorf("stat blob %.80q: %w", digest, ErrNotFound)
	}
	info, err := os.Stat(d.path(digest))
	if err != nil {
		return 0, fmt.Errorf("stat blob %s: %w", digest, notFoundError(err))
	}
	return info.Size(), nil
}

// Keep implements Store.
func (d *Disk) Keep(ctx context.Context, digest Digest, record func() error) error {
	lock, err := d.locks.shared(ctx, digest)
	if err != nil {
		return err
	}
	defer lock.unlock()
	if err := d.makeDurable(ctx, digest); err != nil {
		return fmt.Errorf("keep blob %s: %w", digest, err)
	}
	return record()
}

// Delete implements Store.
func (d *Disk) Delete(ctx context.Context, digest Digest, named func() (bool, error)) (int64, error) {
	lock, err := d.locks.lock(ctx, digest)
	if err != nil {
		return 0, err
	}
	defer lock.unlock()
	isNamed, err := named()
	if err != nil || isNamed || !digest.Valid() {
		return 0, err
	}
	path := d.path(digest)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		d.staged.Delete(digest)
		err = os.Remove(path) // an entry that a crash brings back is an orphan, so no fsync
	}
	if err != nil {
		return 0, fmt.Errorf("delete blob %s: %w", digest, err)
	}
	return info.Size(), nil
}

// Walk implements Store. Blobs that come or go meanwhile may be seen or not.
func (d *Disk) Walk(ctx context.Context, fn func(digest Digest, size int64) error) error {
	for i := range 256 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.walkDir(ctx, fmt.Sprintf("%02x", i), fn); err != nil {
			return err
		}
	}
	return nil
}

// Empty tells whether no blob is stored.
func (d *Disk) Empty(ctx context.Context) (bool, error) {
	found := errors.New("found")
	err := d.Walk(ctx, func(Digest, int64) error { return found })
	if errors.Is(err, found) {
		return false, nil
	}
	return err == nil, err
}

func (d *Disk) walkDir(ctx context.Context, prefix string, fn func(Digest, int64) error) error {
	entries, err := os.ReadDir(filepath.Join(d.root(), prefix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("walk blobs: %w", err)
	}
	for _, e := range entries {
		digest := Digest(prefix + e.Name())
		if !digest.Valid() || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("walk blobs: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(digest, info.Size()); err != nil {
			return err
		}
	}
	return nil
}

// Free implements Store: what an unprivileged process may still write to the filesystem.
func (d *Disk) Free(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n, err := freeBytes(d.dir)
	if err != nil {
		return 0, fmt.Errorf("free bytes of %s: %w", d.dir, err)
	}
	return n, nil
}

// BlockSize is how many bytes the filesystem gives a file at a time, 0 if that cannot be told.
func (d *Disk) BlockSize() int64 { return blockSize(d.dir) }

// TempBytes returns the bytes that writers hold now which are neither committed nor aborted.
func (d *Disk) TempBytes() int64 { return d.temp.Load() }

// notFoundError turns "no such file" into ErrNotFound.
func notFoundError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// spaceError makes a full disk or quota match ErrNoSpace.
func spaceError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
