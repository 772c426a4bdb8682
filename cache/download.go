package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// queueTimeout is how long a download waits for a slot. Clients give up after a minute of silence.
const queueTimeout = 45 * time.Second

// incoming is a file on its way from upstream, with what its bytes must be. Reading fails if they
// are fewer or more than announced.
type incoming struct {
	c       *Cache
	rev     conan.Revision
	body    *conan.Download
	listed  conan.FileInfo
	want    conan.FileInfo // of the list and of the answer together
	check   *check
	got     int64
	release func()
}

// download opens a file upstream when a slot is free. The manifest, which tells what is right, is
// fetched before.
func (c *Cache) download(ctx context.Context, rev conan.Revision, listed conan.FileInfo) (*incoming, error) {
	var manifest *conan.Outline
	if listed.Name != conan.ManifestFile {
		var err error
		if manifest, err = c.outline(ctx, rev); err != nil {
			return nil, err
		}
	}
	release, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	body, err := c.o.Remote.Open(ctx, rev, listed.Name)
	if err != nil {
		release()
		return nil, c.openFailure(rev, listed.Name, err)
	}
	in := &incoming{c: c, rev: rev, body: body, listed: listed, want: combine(listed, body.FileInfo), release: release}
	in.check = c.newCheck(rev, in.want, manifest)
	if r, ok := c.refusedLately(fileID(rev, listed.Name)); ok && r.listed == listed && r.validator == body.Validator {
		in.close() // the same wrong bytes again
		return nil, c.refuseFile(rev, r)
	}
	if !agree(listed, body.FileInfo) {
		in.close()
		err := &wrongError{what: "size or digest are not what it listed"}
		in.remember(err)
		return nil, err
	}
	return in, nil
}

// openFailure is the error of a download that upstream did not begin, as a reader may see it. One
// about the file alone is remembered.
func (c *Cache) openFailure(rev conan.Revision, name string, err error) error {
	if errors.Is(err, conan.ErrNotFound) {
		err = fmt.Errorf("%s of %s in %s: %w", name, rev, c.o.Name, conan.ErrNotFound)
		c.contradicted(rev)
	} else {
		c.o.Log.Debug("upstream failed", zap.Stringer("revision", rev), zap.String("file", name), zap.Error(err))
		err = c.classify(err)
	}
	if isLasting(err) {
		c.refusals.Add(fileID(rev, name), c.refused(err))
	}
	return err
}

// remember notes how the download ended. Once the same wrong bytes arrived twice, a client that
// tries again does not have all of them sent again. The list is asked again, since upstream may
// have replaced the file.
func (in *incoming) remember(err error) {
	c, id := in.c, fileID(in.rev, in.listed.Name)
	if err == nil {
		c.refusals.Remove(id)
		return
	}
	var wrong *wrongError
	if !errors.As(err, &wrong) || in.want.Size < 0 {
		return // without a length the bytes may have been cut on their way
	}
	before, _ := c.refusals.Get(id)
	wrong.again = before.listed == in.listed && before.arrived == wrong.arrived
	r := c.refused(c.readable(err))
	r.listed, r.validator, r.arrived = in.listed, in.body.Validator, wrong.arrived
	if !wrong.again {
		r.until = r.said
	}
	c.refusals.Add(id, r)
	c.contradicted(in.rev)
}

// refuseFile answers with what is remembered of a file. After wrong bytes the list is asked again
// next time, since upstream may have repaired the revision with a file of another name.
func (c *Cache) refuseFile(rev conan.Revision, r refusal) error {
	if r.listed.Name != "" {
		c.contradicted(rev)
	}
	return r.err
}

// contradicted has the list of a revision asked again at the next occasion, also where it was
// rendered already.
func (c *Cache) contradicted(rev conan.Revision) {
	c.contradict(c.filesQuestion(rev).id())
	c.o.Index.Changes().ChangedRef(rev.Ref)
}

// refusedFile returns why upstream is known not to give a file; ok is false if it has to be asked.
func (c *Cache) refusedFile(rev conan.Revision, listed conan.FileInfo) (r refusal, ok bool) {
	r, ok = c.refusedLately(fileID(rev, listed.Name))
	return r, ok && r.isAbout(listed) && r.validator == ""
}

// outline sums up the manifest that the files of a revision are checked with: nil if upstream lists
// none.
func (c *Cache) outline(ctx context.Context, rev conan.Revision) (*conan.Outline, error) {
	list, _, err := c.listed(ctx, rev)
	if err != nil {
		return nil, err
	}
	if _, ok := list.Find(conan.ManifestFile); !ok {
		return nil, nil
	}
	k := c.o.Checks.Begin(ctx)
	defer k.End()
	m, err := c.manifest(ctx, k, rev)
	if err != nil {
		return nil, err
	}
	o := m.Outline()
	return &o, nil
}

// manifest reads the manifest of a revision. All of it has arrived before it takes memory, for
// which others may wait.
func (c *Cache) manifest(ctx context.Context, k *conan.Check, rev conan.Revision) (*conan.Manifest, error) {
	f, _, err := c.open(ctx, rev, conan.ManifestFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !f.Verified() {
		if f, err = f.Wait(ctx); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	m, err := k.ReadManifest(f, f.Size)
	if errors.Is(err, conan.ErrInvalid) {
		return nil, &wrongError{what: err.Error()}
	}
	return m, err
}

// slot waits, in order of arrival, until fewer than MaxFills downloads are under way. The caller
// calls release.
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
		return 0, &wrongError{what: "more bytes than announced"}
	case err == io.EOF && in.got < in.want.Size:
		return n, in.c.unavailable("it ended a file early")
	case err != nil && err != io.EOF:
		return n, in.c.classify(err)
	}
	return n, err
}

// close ends the download.
func (in *incoming) close() {
	in.body.Close()
	in.check.close()
	in.release()
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
