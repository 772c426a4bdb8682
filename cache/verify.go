package cache

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// wrongError says what is wrong with bytes that upstream sent. They are never stored nor served to their end.
type wrongError struct{ what string }

func (e *wrongError) Error() string { return e.what }

// check verifies one file: its length and digests, and its content against the manifest of its revision. Bytes are
// written to it as they arrive, so that an archive is listed meanwhile.
type check struct {
	rev      conan.Revision
	want     conan.FileInfo
	manifest *conan.Manifest // nil for the manifest itself, or if there is none
	archive  *conan.ArchiveLister
}

// facts are what a verified file tells of its revision.
type facts struct {
	manifest *conan.Manifest
	info     *string // text of a package's conaninfo.txt
}

func newCheck(rev conan.Revision, want conan.FileInfo, m *conan.Manifest) *check {
	k := &check{rev: rev, want: want, manifest: m}
	if conan.IsArchive(want.Name) {
		k.archive = conan.NewArchiveLister(want.Name)
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
		k.archive.Close()
	}
}

// finish verifies the whole file, whose sums and content are given. What is wrong is a *wrongError.
func (k *check) finish(sums blob.Sums, content io.Reader) (facts, error) {
	if !agree(k.want, index.FileInfo(k.want.Name, sums)) {
		return facts{}, &wrongError{"size or digest differ from what was announced"}
	}
	switch {
	case k.want.Name == conan.ManifestFile:
		return k.finishManifest(content)
	case k.archive != nil:
		return facts{manifest: k.manifest}, k.finishArchive()
	case k.want.Name == conan.InfoFile && k.rev.IsPackage():
		return k.finishInfo(sums, content)
	case k.want.Name == conan.RecipeFile:
		return facts{manifest: k.manifest}, k.lineOf(sums)
	}
	return facts{manifest: k.manifest}, nil
}

// finishManifest checks that the revision id is what it should be the sum of. Ids of other lengths are made otherwise,
// from a commit for example.
func (k *check) finishManifest(content io.Reader) (facts, error) {
	m, err := readManifest(content, k.rev)
	if err != nil {
		return facts{}, &wrongError{err.Error()}
	}
	id := strings.ToLower(k.rev.ID())
	if _, err := hex.DecodeString(id); err == nil && len(id) == hex.EncodedLen(md5.Size) && m.Summary() != id {
		return facts{}, &wrongError{fmt.Sprintf("the manifest is of revision %s", m.Summary())}
	}
	return facts{manifest: m}, nil
}

func (k *check) finishArchive() error {
	k.archive.Close()
	members, err := k.archive.Members()
	if err != nil {
		return &wrongError{err.Error()}
	}
	if k.manifest == nil {
		return nil
	}
	// Paths that only one side names are common among published packages, and harmless.
	if _, err := conan.CheckArchive(k.manifest, k.want.Name, members); err != nil {
		return &wrongError{err.Error()}
	}
	return nil
}

// finishInfo checks conaninfo.txt against its line and against the package id, which is its sha1 in Conan 2.
func (k *check) finishInfo(sums blob.Sums, content io.Reader) (facts, error) {
	const most = 16 << 20
	text, err := io.ReadAll(io.LimitReader(content, most+1))
	if err != nil {
		return facts{}, fmt.Errorf("read %s of %s: %w", k.want.Name, k.rev, err)
	}
	if len(text) > most {
		return facts{}, &wrongError{conan.InfoFile + " is too long"}
	}
	info := string(text)
	id := strings.ToLower(k.rev.PackageID)
	if _, err := hex.DecodeString(id); err == nil && len(id) == hex.EncodedLen(sha1.Size) && !isConan1Info(info) && sums.SHA1 != id {
		return facts{}, &wrongError{fmt.Sprintf("%s is of package %s", conan.InfoFile, sums.SHA1)}
	}
	return facts{manifest: k.manifest, info: &info}, k.lineOf(sums)
}

// isConan1Info tells whether Conan 1 wrote a conaninfo.txt. It holds more there than the package id is made of.
func isConan1Info(text string) bool {
	for line := range strings.Lines(text) {
		switch strings.TrimSpace(line) {
		case "[recipe_hash]", "[full_settings]":
			return true
		}
	}
	return false
}

// lineOf compares a file that the manifest lists as it is.
func (k *check) lineOf(sums blob.Sums) error {
	if k.manifest == nil {
		return nil
	}
	if line, ok := k.manifest.Files[k.want.Name]; ok && line != sums.MD5 {
		return &wrongError{fmt.Sprintf("%s has md5 %s, the manifest says %s", k.want.Name, sums.MD5, line)}
	}
	return nil
}
