package localstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"

	"conanproxy/internal/blob"
)

// memStore keeps blobs in memory, for the many tests that are not about the disk. Every step may be
// made to fail.
type memStore struct {
	step   func() error // called before every step that may fail; nil never fails
	opened func()       // called at every Open; may be nil

	mu    sync.Mutex
	blobs map[blob.Digest][]byte
}

func newMemStore() *memStore { return &memStore{blobs: make(map[blob.Digest][]byte)} }

func (m *memStore) burn() error {
	if m.step == nil {
		return nil
	}
	return m.step()
}

type memWriter struct {
	bytes.Buffer
	store *memStore
}

func (m *memStore) Create(context.Context) (blob.Writer, error) {
	return &memWriter{store: m}, m.burn()
}

func (w *memWriter) Write(p []byte) (int, error) {
	if err := w.store.burn(); err != nil {
		return 0, err
	}
	return w.Buffer.Write(p)
}

func (w *memWriter) Close() {}

func (w *memWriter) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(w.Bytes()).ReadAt(p, off)
}

func (w *memWriter) Sums() blob.Sums {
	s256, s1, s5 := sha256.Sum256(w.Bytes()), sha1.Sum(w.Bytes()), md5.Sum(w.Bytes())
	return blob.Sums{
		Size: int64(w.Len()), SHA256: blob.Digest(hex.EncodeToString(s256[:])),
		SHA1: hex.EncodeToString(s1[:]), MD5: hex.EncodeToString(s5[:]),
	}
}

func (w *memWriter) Commit(_ context.Context, record func(blob.Sums) error) error {
	if err := w.store.burn(); err != nil {
		return err
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.blobs[w.Sums().SHA256] = bytes.Clone(w.Bytes())
	if err := w.store.burn(); err != nil {
		return err
	}
	if record != nil {
		if err := record(w.Sums()); err != nil {
			return err
		}
	}
	return w.store.burn()
}

func (w *memWriter) Abort() {}

type memReader struct{ *bytes.Reader }

func (memReader) Close() error { return nil }

func (m *memStore) Open(_ context.Context, d blob.Digest) (blob.Reader, error) {
	if err := m.burn(); err != nil {
		return nil, err
	}
	if m.opened != nil {
		m.opened()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[d]
	if !ok {
		return nil, blob.ErrNotFound
	}
	return memReader{bytes.NewReader(b)}, nil
}

func (m *memStore) Stat(_ context.Context, d blob.Digest) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[d]
	if !ok {
		return 0, blob.ErrNotFound
	}
	return int64(len(b)), nil
}

func (m *memStore) Keep(_ context.Context, d blob.Digest, record func() error) error {
	if err := m.burn(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.blobs[d]; !ok {
		return blob.ErrNotFound
	}
	if err := record(); err != nil {
		return err
	}
	return m.burn()
}

func (m *memStore) Delete(_ context.Context, d blob.Digest, named func() (bool, error)) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is, err := named(); err != nil || is {
		return 0, err
	}
	n := len(m.blobs[d])
	delete(m.blobs, d)
	return int64(n), nil
}

func (m *memStore) Walk(_ context.Context, fn func(blob.Digest, int64) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d, b := range m.blobs {
		if err := fn(d, int64(len(b))); err != nil {
			return err
		}
	}
	return nil
}

func (m *memStore) Free(context.Context) (int64, error) { return 1 << 40, nil }

var (
	_ blob.Store = (*memStore)(nil)
	_ io.Seeker  = memReader{}
)

func (w *memWriter) Stage(ctx context.Context, record func(blob.Sums) error) error {
	return w.Commit(ctx, record)
}

func (m *memStore) Sync(ctx context.Context, digests ...blob.Digest) error {
	for _, d := range digests {
		if err := m.Keep(ctx, d, func() error { return nil }); err != nil {
			return err
		}
	}
	return nil
}
