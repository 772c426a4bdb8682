package localstore

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// comparison is a revision that a store has and another place offers.
type comparison struct {
	rev             conan.Revision
	stored, offered conan.Snapshot // without metadata
	from            string         // the name of the other place
	open            func(conan.FileInfo) (io.ReadCloser, error)
}

// compare is conan.ErrConflict with both digests if the offered revision has other bytes: an
// archive that differs in more than order, times, owners or compression, a manifest that means
// other files, or another file that differs at all. Where no digest is known, the revision's id is
// believed.
func (s *Store) compare(ctx context.Context, c comparison) error {
	k := s.checks.Begin(ctx)
	defer k.End()
	for _, old := range c.stored {
		now, ok := findFile(c.offered, old.Name)
		if !ok || now.Name == old.Name && !otherDigest(now, old) {
			continue
		}
		same, err := s.sameContents(ctx, k, c, old, now)
		if err != nil {
			return fmt.Errorf("compare %s of %s: %w", now.Name, c.rev, err)
		}
		if !same {
			return fmt.Errorf("%w: %s has other bytes in the two places: %s is %s in %q and %s is %s in %q",
				conan.ErrConflict, c.rev, now.Name, digestText(now), c.from, old.Name, digestText(old), s.name)
		}
	}
	return nil
}

func (s *Store) sameContents(ctx context.Context, k *conan.Check, c comparison, old, now conan.FileInfo) (bool, error) {
	if !conan.IsArchive(old.Name) && old.Name != conan.ManifestFile {
		return false, nil
	}
	theirs, err := c.open(now)
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	a, err := contentsOf(k, now.Name, &contextReader{ctx: ctx, r: theirs})
	if err != nil {
		return false, err
	}
	ours, err := s.blobs.Open(ctx, blob.Digest(old.SHA256))
	if err != nil {
		return false, err
	}
	defer ours.Close()
	b, err := contentsOf(k, old.Name, &contextReader{ctx: ctx, r: ours})
	return a == b, err
}

// contentsOf is a text that is equal for equal contents of an archive or a manifest.
func contentsOf(k *conan.Check, name string, r io.Reader) (string, error) {
	if conan.IsArchive(name) {
		list, err := k.List(name, r)
		if err != nil {
			return "", err
		}
		return list.Content(), nil
	}
	text, err := io.ReadAll(io.LimitReader(r, conan.MaxManifestSize+1))
	if err != nil {
		return "", err
	}
	m, err := k.ReadManifest(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return "", err
	}
	return m.Summary(), nil
}

// digestText names the best digest that is known of a file.
func digestText(f conan.FileInfo) string {
	switch {
	case f.SHA256 != "":
		return "sha256:" + f.SHA256
	case f.SHA1 != "":
		return "sha1:" + f.SHA1
	}
	return "md5:" + f.MD5
}
