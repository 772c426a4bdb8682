package cache

import (
	"context"
	"errors"
	"io"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// incoming is a file on its way from upstream, with what its bytes must be. Reading fails if they are fewer or more
// than announced.
type incoming struct {
	c       *Cache
	body    *conan.Download
	want    conan.FileInfo // of the list and of the answer together
	check   *check
	got     int64
	release func()
}

// download opens a file upstream when a slot is free. The manifest, which tells what is right, is fetched before.
func (c *Cache) download(ctx context.Context, rev conan.Revision, want conan.FileInfo) (*incoming, error) {
	manifest, err := c.manifestFor(ctx, rev, want.Name)
	if err != nil {
		return nil, err
	}
	release, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	body, err := c.o.Remote.Open(ctx, rev, want.Name)
	if err != nil {
		release()
		if errors.Is(err, conan.ErrNotFound) {
			c.expireFiles(ctx, rev)
			c.negative.put(missingID(rev, want.Name), c.o.Now())
			return nil, c.unavailable(missingReason)
		}
		c.o.Log.Debug("upstream failed", zap.Stringer("revision", rev), zap.String("file", want.Name), zap.Error(err))
		return nil, c.classify(err)
	}
	in := &incoming{c: c, body: body, release: release}
	if !agree(want, body.FileInfo) {
		in.close()
		c.expireFiles(ctx, rev)
		return nil, &wrongError{"size or digest are not what it listed"}
	}
	in.want = combine(want, body.FileInfo)
	in.check = newCheck(rev, in.want, manifest)
	return in, nil
}

const missingReason = "it lists the file but does not have it"

func missingID(rev conan.Revision, name string) string {
	return "missing\x00" + rev.String() + "/" + name
}

// isMissing tells whether upstream said a short time ago that it does not have a file which it lists. It may come back
// in any mode, since that is not as it should be.
func (c *Cache) isMissing(rev conan.Revision, name string) bool {
	said, ok := c.negative.get(missingID(rev, name))
	return ok && c.o.Now().Before(said.Add(c.o.NotFoundFor))
}

// manifestFor returns the manifest that a file is checked with: nil for the manifest itself, and if upstream lists none.
func (c *Cache) manifestFor(ctx context.Context, rev conan.Revision, name string) (*conan.Manifest, error) {
	if name == conan.ManifestFile {
		return nil, nil
	}
	f, _, err := c.open(ctx, rev, conan.ManifestFile)
	if errors.Is(err, conan.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := readManifest(f, rev)
	if errors.Is(err, conan.ErrInvalid) {
		return nil, &wrongError{err.Error()}
	}
	return m, err
}

// slot waits, in order of arrival, until fewer than MaxFills downloads are under way. The caller calls release.
func (c *Cache) slot(ctx context.Context) (release func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if err := c.slots.Acquire(waiting, 1); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &conan.UnavailableError{Member: c.o.Name, Reason: "too many downloads from it are under way", RetryAfter: 5 * time.Second}
	}
	return func() { c.slots.Release(1) }, nil
}

// Read implements io.Reader.
func (in *incoming) Read(p []byte) (int, error) {
	n, err := in.body.Read(p)
	in.got += int64(n)
	switch {
	case in.want.Size >= 0 && in.got > in.want.Size:
		return 0, &wrongError{"more bytes than announced"}
	case err == io.EOF && in.got < in.want.Size:
		return n, in.c.unavailable("it ended a file early")
	case err != nil && err != io.EOF:
		return n, in.c.classify(err)
	}
	return n, err
}

func (in *incoming) close() {
	in.body.Close()
	if in.check != nil {
		in.check.close()
	}
	in.release()
}

// expireFiles has the list of a revision asked again at the next occasion, since upstream contradicted it.
func (c *Cache) expireFiles(ctx context.Context, rev conan.Revision) {
	q := c.filesQuestion(rev)
	doc, err := load(ctx, c, q)
	if err != nil || doc == nil || !c.isFresh(doc.Fetched) {
		return
	}
	store(ctx, c, q, document[conan.Snapshot]{Value: doc.Value, Fetched: c.o.Now().Add(-c.o.FreshFor - time.Millisecond).UTC()}, func() {})
}

// combine is what two agreeing descriptions of a file tell together.
func combine(a, b conan.FileInfo) conan.FileInfo {
	if a.Size < 0 {
		a.Size = b.Size
	}
	for _, f := range []struct{ into, from *string }{{&a.MD5, &b.MD5}, {&a.SHA1, &b.SHA1}, {&a.SHA256, &b.SHA256}} {
		if *f.into == "" {
			*f.into = *f.from
		}
	}
	return a
}
