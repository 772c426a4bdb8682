package localstore

import (
	"context"
	"slices"
	"testing"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// syncing is a blob store that notes which sets are made durable. Those that it is told to have
// lost fail.
type syncing struct {
	blob.Store
	lost   bool
	synced [][]blob.Digest
}

// Sync implements blob.Store.
func (s *syncing) Sync(ctx context.Context, digests ...blob.Digest) error {
	if s.lost {
		return blob.ErrNotFound
	}
	s.synced = append(s.synced, slices.Sorted(slices.Values(digests)))
	return s.Store.Sync(ctx, digests...)
}

// TestSyncBeforePublication: the files of a set are made durable together before the answer that
// publishes. What a failure of power took is sent again, and is never published.
func TestSyncBeforePublication(t *testing.T) {
	t.Parallel()
	blobs := &syncing{Store: newMemStore(), lost: true}
	e := newEnv(t, func(o *Options) { o.Blobs = blobs })
	set := recipe("class A", files{"x.txt": "x"}, nil)
	rev := conan.Revision{Ref: hi, RRev: set.rev()}
	wantError(t, e.send(rev, set), conan.ErrConflict, "send it again")
	_, err := e.Snapshot(t.Context(), rev)
	wantError(t, err, conan.ErrNotFound)

	blobs.lost = false
	wantError(t, e.send(rev, set), nil)
	var want []blob.Digest
	for _, text := range set {
		want = append(want, blob.Digest(sha256Of(text)))
	}
	slices.Sort(want)
	wantEqual(t, "made durable", blobs.synced, [][]blob.Digest{want})
}
