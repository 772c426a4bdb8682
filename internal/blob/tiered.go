package blob

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Tiered is the Store whose blobs are objects of a bucket. Its disk, the tier, has copies of those
// that were used lately; losing it loses nothing. A blob is stored once it has a stored object,
// which its row says. No lock is held during a request to the bucket.
type Tiered struct {
	disk    *Disk
	objects Objects
	keys    Keys
	log     *zap.Logger
	metrics *TierMetrics

	max     atomic.Int64  // bytes that the tier may have
	minFree atomic.Int64  // bytes that stay free on its disk
	used    atomic.Int64  // bytes in the tier, or more: what was stored twice is counted twice
	filling atomic.Int64  // bytes that fills have written and not stored yet
	kick    chan struct{} // has Run look at once

	measuring sync.Mutex
	measured  bool // used counts what an earlier process left too; guarded by measuring

	ctx     context.Context // of the fills
	cancel  context.CancelFunc
	mu      sync.Mutex // guards fills and running.Add
	fills   map[Digest]*fill
	closed  bool
	running sync.WaitGroup
}

var _ Store = (*Tiered)(nil)

// TieredOptions are the arguments of NewTiered.
type TieredOptions struct {
	Disk    *Disk   // the tier
	Objects Objects // the bucket
	Keys    Keys    // the rows of its objects

	Max     int64        // bytes that the tier may have; Run keeps to it
	MinFree int64        // bytes that Run keeps free on its disk
	Log     *zap.Logger  // nil: none
	Metrics *TierMetrics // nil: none are counted
}

// NewTiered makes the store. Run it to have the tier bounded and objects removed. The caller calls
// Close.
func NewTiered(o TieredOptions) *Tiered {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = NewTierMetrics(nil)
	}
	t := &Tiered{
		disk: o.Disk, objects: o.Objects, keys: o.Keys, log: o.Log, metrics: o.Metrics,
		kick: make(chan struct{}, 1), fills: make(map[Digest]*fill),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.SetBounds(o.Max, o.MinFree)
	return t
}

// SetBounds replaces TieredOptions.Max and MinFree.
func (t *Tiered) SetBounds(maxSize, minFree int64) {
	t.max.Store(maxSize)
	t.minFree.Store(minFree)
	t.kickRun()
}

// Close ends the fills and waits for them.
func (t *Tiered) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.running.Wait()
	return nil
}

// Open implements Store. The Reader is an *os.File if the tier has the blob; else it follows the
// fill of the tier.
func (t *Tiered) Open(ctx context.Context, d Digest) (Reader, error) { return t.openSized(ctx, d, -1) }

// openSized opens a blob of a known size in bytes, or of any size if that is negative. A copy in
// the tier that does not fit is removed, and got again.
func (t *Tiered) openSized(ctx context.Context, d Digest, size int64) (Reader, error) {
	f, err := t.openTier(ctx, d, size)
	if err == nil {
		t.metrics.hits.Inc()
		return f, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	const tries = 3 // the object may be replaced meanwhile
	for range tries {
		object, findErr := t.find(ctx, d)
		if findErr != nil {
			return nil, findErr
		}
		var r Reader
		if r, err = t.openFill(ctx, object); !errors.Is(err, ErrNotFound) {
			return r, err
		}
	}
	return nil, err
}

// openTier opens the copy in the tier. One that is damaged or cannot be read is removed and not
// found, since the bucket has its bytes. Other errors are that of ctx.
func (t *Tiered) openTier(ctx context.Context, d Digest, size int64) (*os.File, error) {
	f, err := t.disk.open(ctx, d)
	if err == nil {
		if err = t.inspect(f, d, size); err == nil {
			return f, nil
		}
		f.Close()
	}
	if errors.Is(err, ErrNotFound) || ctx.Err() != nil {
		return nil, err
	}
	t.dropCopy(d, err)
	return nil, fmt.Errorf("open blob %s: %w", d, ErrNotFound)
}

// errDamaged is why a copy is removed that does not have the bytes of its blob.
var errDamaged = errors.New("it is damaged")

// inspect looks at the size of an opened copy and compares a small one with its digest, like those
// of Disk.
func (t *Tiered) inspect(f *os.File, d Digest, size int64) error {
	info, err := f.Stat()
	good := err == nil && (size < 0 || info.Size() == size)
	if good {
		good, err = intactIfSmall(f, d)
	}
	if err == nil && !good {
		err = errDamaged
	}
	if err == nil {
		t.touch(d, info.ModTime())
	}
	return err
}

// dropCopy removes a copy in the tier that is of no use. If that fails too, the blob is read from
// the bucket each time.
func (t *Tiered) dropCopy(d Digest, why error) {
	t.log.Warn("a copy in the disk tier is removed", zap.String("blob", string(d)), zap.NamedError("why", why))
	if err := t.removeCopy(d); err != nil && !errors.Is(err, ErrNotFound) {
		t.log.Error("a copy in the disk tier could not be removed", zap.String("blob", string(d)), zap.Error(err))
	}
}

// removeCopy removes the copy in the tier. One that is not there is ErrNotFound.
func (t *Tiered) removeCopy(d Digest) error {
	path := t.disk.path(d)
	info, err := os.Stat(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return notFoundError(err)
	}
	t.used.Add(-info.Size())
	return nil
}

// touch notes the use of a copy in the tier, as the time of its file.
func (t *Tiered) touch(d Digest, last time.Time) {
	const often = 10 * time.Minute
	now := time.Now()
	if now.Sub(last) < often {
		return
	}
	if err := os.Chtimes(t.disk.path(d), now, now); err != nil {
		t.log.Debug("the use of a copy in the disk tier was not noted", zap.Error(err))
	}
}

// find returns the stored object of a blob, or ErrNotFound.
func (t *Tiered) find(ctx context.Context, d Digest) (Object, error) {
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	if !d.Valid() {
		return Object{}, fmt.Errorf("blob %.80q: %w", d, ErrNotFound)
	}
	return t.keys.FindObject(ctx, d)
}

// Stat implements Store.
func (t *Tiered) Stat(ctx context.Context, d Digest) (int64, error) {
	object, err := t.find(ctx, d)
	return object.Size, err
}

// Sync implements Store: what has a stored object is durable.
func (t *Tiered) Sync(ctx context.Context, digests ...Digest) error {
	for _, d := range digests {
		if _, err := t.find(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// Keep implements Store.
func (t *Tiered) Keep(ctx context.Context, d Digest, record func() error) error {
	held, err := t.disk.locks.shared(ctx, d)
	if err != nil {
		return err
	}
	defer held.unlock()
	if _, err := t.find(ctx, d); err != nil {
		return fmt.Errorf("keep blob: %w", err)
	}
	return record()
}

// Delete implements Store. The object is removed by Run, or by RemoveDead.
func (t *Tiered) Delete(ctx context.Context, d Digest, named func() (bool, error)) (int64, error) {
	held, err := t.disk.locks.lock(ctx, d)
	if err != nil {
		return 0, err
	}
	defer held.unlock()
	isNamed, err := named()
	if err != nil || isNamed || !d.Valid() {
		return 0, err
	}
	size, err := t.keys.DropObject(ctx, d)
	if err != nil {
		return 0, err
	}
	t.kickRun()
	if err := t.removeCopy(d); err != nil && !errors.Is(err, ErrNotFound) {
		return size, fmt.Errorf("delete blob %s from the disk tier: %w", d, err)
	}
	return size, nil
}

// Walk implements Store: every blob with a stored object.
func (t *Tiered) Walk(ctx context.Context, fn func(d Digest, size int64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.keys.EachObject(ctx, func(o Object) error { return fn(o.Digest, o.Size) })
}

// Free implements Store: what may still be written to the disk, on which an upload lies before it
// is sent. Copies in the tier make way for it.
func (t *Tiered) Free(ctx context.Context) (int64, error) {
	free, err := t.disk.Free(ctx)
	if err != nil {
		return 0, err
	}
	if free < t.minFree.Load() {
		t.kickRun()
		err = t.measure(ctx)
	}
	return free + t.used.Load(), err
}

// BlockSize is that of the disk.
func (t *Tiered) BlockSize() int64 { return t.disk.BlockSize() }

// TempBytes returns the bytes that writers hold now which are neither committed nor aborted; fills
// of the tier do not count.
func (t *Tiered) TempBytes() int64 { return max(0, t.disk.TempBytes()-t.filling.Load()) }

// MakeFolders is that of the disk.
func (t *Tiered) MakeFolders(ctx context.Context) error { return t.disk.MakeFolders(ctx) }
