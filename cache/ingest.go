package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/space"
)

// download opens the file of a fill upstream, leases space for it, and stores it.
func (f *fill) download(ctx context.Context, want conan.FileInfo) error {
	c, rev := f.c, f.key.rev
	if err := f.use(ctx); err != nil {
		return err
	}
	if known, err := f.storedMeanwhile(ctx); err != nil || known {
		return err
	}
	in, err := c.download(ctx, rev, want)
	if err != nil {
		return err
	}
	defer in.close()

	lease, err := c.o.Budget.LeaseCache(ctx, max(in.want.Size, 0))
	if errors.Is(err, conan.ErrNoSpace) {
		return errNoSpace
	}
	if err != nil {
		return err
	}
	defer lease.Release()
	w, err := c.o.Blobs.Create(ctx)
	if errors.Is(err, blob.ErrNoSpace) {
		return errNoSpace
	}
	if err != nil {
		return err
	}
	err = f.ingest(ctx, w, in, lease)
	in.remember(err)
	return err
}

// use keeps the revision from being evicted as long as the fill has a user.
func (f *fill) use(ctx context.Context) error {
	endUse, err := f.c.o.Budget.Use(ctx, f.c.o.Member, f.key.rev)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endUse = endUse
	return nil
}

// storedMeanwhile tells whether an earlier fill stored the file after our client looked.
func (f *fill) storedMeanwhile(ctx context.Context) (bool, error) {
	if conan.IsMetadata(f.key.name) {
		if _, fresh := f.c.bytesFetched(ctx, f.key.rev, f.key.name); !fresh {
			return false, nil
		}
	}
	file, err := f.c.openStored(ctx, f.key.rev, f.key.name)
	if err != nil || file == nil {
		return false, err
	}
	file.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info = file.FileInfo
	return true, nil
}

// ingest writes, verifies and stores every byte.
func (f *fill) ingest(ctx context.Context, w blob.Writer, in *incoming, lease *space.Lease) error {
	f.begin(w, in.want)
	if err := f.copy(ctx, in, lease); err != nil {
		return err
	}
	sums := w.Sums()
	facts, err := in.check.finish(ctx, sums, io.NewSectionReader(w, 0, sums.Size))
	if err != nil {
		return err
	}
	f.verify(sums)
	return f.commit(context.WithoutCancel(ctx), facts)
}

// begin shows the clients that upstream began to send.
func (f *fill) begin(w blob.Writer, info conan.FileInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.w, f.info, f.large = w, info, info.Size >= followFrom
	if !f.large {
		f.small = []byte{}
	}
	f.move(arriving)
}

// copy writes all that upstream sends, and shows how far it got.
func (f *fill) copy(ctx context.Context, in *incoming, lease *space.Lease) error {
	const growth = 16 << 20
	bytes := f.c.o.Metrics.fillBytes.WithLabelValues(f.c.o.Name)
	buf := make([]byte, 128<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if lease.Left() < int64(n) && lease.Grow(ctx, growth) != nil {
				return errNoSpace
			}
			if _, err := f.w.Write(buf[:n]); err != nil {
				return fmt.Errorf("store %s of %s: %w", f.key.name, f.key.rev, err)
			}
			lease.Used(int64(n))
			bytes.Add(float64(n))
			f.advance(buf[:n])
			in.check.Write(buf[:n])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *fill) advance(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrote += int64(len(b))
	if !f.large && f.wrote < followFrom {
		f.small = append(f.small, b...)
	} else {
		f.small = nil
	}
	f.broadcast()
}

// verify tells the clients that all bytes are there and verified.
func (f *fill) verify(s blob.Sums) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info = index.FileInfo(f.key.name, s)
	f.move(verified)
}

// commit makes the verified bytes durable and names them in the index.
func (f *fill) commit(ctx context.Context, facts facts) error {
	c, rev, name := f.c, f.key.rev, f.key.name
	published := c.publication(ctx, rev, facts.built)
	err := f.w.Commit(ctx, func(s blob.Sums) error {
		c.remembering.RLock()
		defer c.remembering.RUnlock()
		if f.isPurged() {
			return errPurged
		}
		return c.o.Index.PutRevision(ctx, c.o.Member, rev, index.PutOptions{
			Time: published, Info: facts.info, Files: []conan.FileInfo{index.FileInfo(name, s)},
		})
	})
	if err != nil {
		return fmt.Errorf("store %s of %s: %w", name, rev, err)
	}
	if conan.IsMetadata(name) {
		store(ctx, c, bytesQuestion(rev, name), document[string]{Value: f.info.SHA256, Fetched: c.o.Now().UTC()}, func() {})
		if err := c.o.Budget.DeleteUnused(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Error("replaced bytes could not be deleted", zap.Error(err))
		}
	}
	return nil
}

func (f *fill) isPurged() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.purged
}

// publication is the time of a revision: what upstream listed, else what was stored before, else
// what the manifest says (Unix seconds, 0 if nothing), else now.
func (c *Cache) publication(ctx context.Context, rev conan.Revision, built int64) time.Time {
	if doc, err := load(ctx, c, c.listQuestion(rev)); err == nil && doc != nil {
		if r, ok := doc.Value.find(rev.ID()); ok {
			return r.Time
		}
	}
	if s, err := c.stored(ctx, rev); err == nil && s != nil {
		return s.Time
	}
	if built > 0 {
		return time.Unix(built, 0).UTC()
	}
	return c.o.Now().UTC()
}
