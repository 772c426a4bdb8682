package cache

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// wrongError says what is wrong with bytes that upstream sent. They are never stored nor served to
// their end.
type wrongError struct {
	what    string
	arrived string // sha256 of the bytes; empty if they did not all arrive
	again   bool   // the same bytes were wrong before: they were not damaged on their way
}

func (e *wrongError) Error() string { return e.what }

// check verifies one file: its length and digests, and its content against the manifest of its
// revision. Bytes are written to it as they arrive, so that an archive is listed meanwhile.
type check struct {
	c        *Cache
	rev      conan.Revision
	want     conan.FileInfo
	manifest *conan.Outline // nil for the manifest itself, or if there is none
	archive  *conan.ArchiveLister
}

// facts are what a verified file tells of its revision.
type facts struct {
	built int64   // when its manifest was made, Unix seconds; 0 if that is not known
	info  *string // text of a package's conaninfo.txt
}

func (c *Cache) newCheck(rev conan.Revision, want conan.FileInfo, m *conan.Outline) *check {
	k := &check{c: c, rev: rev, want: want, manifest: m}
	if conan.IsArchive(want.Name) {
		k.archive = c.o.Checks.NewLister(want.Name)
	}
	return k
}

// Write takes the next bytes of the file. It never fails.
func (k *check) Write(p []byte) (int, error) {
	if k.archive != nil {
		return k.archive.Write(p)
	}
	return len(p), nil
}

func (k *check) close() {
	if k.archive != nil {
		k.archive.End()
	}
}

// finish verifies the whole file, whose sums and content are given. What is wrong is a *wrongError.
func (k *check) finish(ctx context.Context, sums blob.Sums, content io.Reader) (facts, error) {
	facts, err := k.verify(ctx, sums, content)
	var wrong *wrongError
	if errors.As(err, &wrong) {
		wrong.arrived = string(sums.SHA256)
	}
	return facts, err
}

func (k *check) verify(ctx context.Context, sums blob.Sums, content io.Reader) (facts, error) {
	if !agree(k.want, index.FileInfo(k.want.Name, sums)) {
		return facts{}, &wrongError{what: "size or digest differ from what was announced"}
	}
	switch {
	case k.want.Name == conan.ManifestFile:
		return k.finishManifest(ctx, sums, content)
	case k.archive != nil:
		return k.facts(), k.finishArchive(ctx, content)
	case k.want.Name == conan.InfoFile && k.rev.IsPackage():
		return k.finishInfo(sums, content)
	case k.want.Name == conan.RecipeFile:
		return k.facts(), k.lineOf(sums)
	}
	return k.facts(), nil
}

func (k *check) facts() facts {
	if k.manifest == nil {
		return facts{}
	}
	return facts{built: k.manifest.Time}
}

// finishManifest checks that the revision id is what it should be the sum of. Ids of other lengths
// are made otherwise, from a commit for example.
func (k *check) finishManifest(ctx context.Context, sums blob.Sums, content io.Reader) (facts, error) {
	memory := k.c.o.Checks.Begin(ctx)
	defer memory.End()
	m, err := memory.ReadManifest(content, sums.Size)
	if err != nil {
		return facts{}, wrongIfInvalid(err)
	}
	id := strings.ToLower(k.rev.ID())
	if _, err := hex.DecodeString(id); err == nil && len(id) == hex.EncodedLen(md5.Size) && m.Summary() != id {
		return facts{}, &wrongError{what: fmt.Sprintf("the manifest is of revision %s", m.Summary())}
	}
	return facts{built: m.Time}, nil
}

// finishArchive lists the archive, if it was not listed while it arrived, and compares it with the
// manifest. content is nil if the archive is not stored.
func (k *check) finishArchive(ctx context.Context, content io.Reader) error {
	k.archive.Close()
	list, err := k.archive.List()
	if err != nil {
		return wrongIfInvalid(err)
	}
	memory := k.c.o.Checks.Begin(ctx)
	defer memory.End()
	var m *conan.Manifest
	if k.manifest != nil {
		if m, err = k.c.manifest(ctx, memory, k.rev); err != nil {
			return err
		}
	}
	if list == nil && content == nil {
		return k.c.unavailable("there is no space to store and check this archive")
	}
	if list == nil {
		if list, err = memory.List(k.want.Name, content); err != nil {
			return wrongIfInvalid(err)
		}
	}
	if m == nil {
		return nil
	}
	return wrongIfInvalid(memory.CompareArchive(m, k.want.Name, list))
}

// wrongIfInvalid makes a *wrongError of what is wrong with the bytes.
func wrongIfInvalid(err error) error {
	if errors.Is(err, conan.ErrInvalid) {
		return &wrongError{what: err.Error()}
	}
	return err
}

// finishInfo checks conaninfo.txt against its line and against the package id, which is its sha1 in
// Conan 2.
func (k *check) finishInfo(sums blob.Sums, content io.Reader) (facts, error) {
	const most = 16 << 20
	text, err := io.ReadAll(io.LimitReader(content, most+1))
	if err != nil {
		return facts{}, fmt.Errorf("read %s of %s: %w", k.want.Name, k.rev, err)
	}
	if len(text) > most {
		return facts{}, &wrongError{what: conan.InfoFile + " is too long"}
	}
	info := string(text)
	id := strings.ToLower(k.rev.PackageID)
	if _, err := hex.DecodeString(id); err == nil && len(id) == hex.EncodedLen(sha1.Size) && !conan.IsConan1Info(info) && sums.SHA1 != id {
		return facts{}, &wrongError{what: fmt.Sprintf("%s is of package %s", conan.InfoFile, sums.SHA1)}
	}
	return facts{built: k.facts().built, info: &info}, k.lineOf(sums)
}

// lineOf compares a file that the manifest lists as it is.
func (k *check) lineOf(sums blob.Sums) error {
	if k.manifest == nil {
		return nil
	}
	if line, ok := k.manifest.Small[k.want.Name]; ok && line != sums.MD5 {
		return &wrongError{what: fmt.Sprintf("%s has md5 %s, the manifest says %s", k.want.Name, sums.MD5, line)}
	}
	return nil
}
