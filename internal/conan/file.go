package conan

import (
	"context"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The names of the files that the protocol itself knows.
const (
	ManifestFile  = "conanmanifest.txt"
	RecipeFile    = "conanfile.py"
	InfoFile      = "conaninfo.txt"
	ExportPrefix  = "conan_export."  // + tgz, txz or tzst
	SourcesPrefix = "conan_sources." // + tgz, txz or tzst
	PackagePrefix = "conan_package." // + tgz, txz or tzst
	MetadataDir   = "metadata/"
)

// FileInfo describes a file of a revision. Unknown is allowed for everything but
// the name: Size -1, digests "". Digests are lower-case hex of the stored bytes.
type FileInfo struct {
	Name   string
	Size   int64
	MD5    string
	SHA1   string
	SHA256 string
}

// Snapshot is the sorted list of the files of one revision. The v1 snapshot, the v2
// file list, the upload set and the check against the manifest are views of it.
type Snapshot []FileInfo

// Sort orders the list by name; every Snapshot that crosses a seam is sorted.
func (s Snapshot) Sort() {
	sort.Slice(s, func(i, j int) bool { return s[i].Name < s[j].Name })
}

// Find returns the entry with that name.
func (s Snapshot) Find(name string) (FileInfo, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].Name >= name })
	if i < len(s) && s[i].Name == name {
		return s[i], true
	}
	return FileInfo{}, false
}

// File is an open file of a pinned revision. The reader starts at the first byte; the caller closes
// it.
//
// If Wait is nil, the bytes are complete and verified: the ReadCloser is also an
// io.Seeker backed by an *os.File where the store allows sendfile, and SHA256 is known.
// Otherwise the file is still being filled: reading follows the fill, and ends with an
// error short of Size if verification fails. Wait blocks until the fill ended and
// returns the verified file in place of this one (which stays to be closed).
//
// Replaced is when these bytes took the place of others under the same revision and name; the zero
// time if they never did. A client may have a part of the others.
//
// OnClose, if not nil, is called when the file is closed.
type File struct {
	FileInfo
	io.ReadCloser
	Wait     func(context.Context) (*File, error)
	Replaced time.Time
	OnClose  func()
}

// Close closes the ReadCloser and calls OnClose, once.
func (f *File) Close() error {
	err := f.ReadCloser.Close()
	if f.OnClose != nil {
		f.OnClose()
		f.OnClose = nil
	}
	return err
}

// Verified tells whether every byte is stored and its digests were checked.
func (f *File) Verified() bool { return f.Wait == nil }

// IsMetadata tells whether the name lies below metadata/, and so may be added to a published
// revision.
func IsMetadata(name string) bool { return strings.HasPrefix(name, MetadataDir) }

// IsArchive tells whether the name is one of Conan's archives:
// conan_{export,sources,package}.{tgz,txz,tzst}.
func IsArchive(name string) bool {
	for _, p := range []string{ExportPrefix, SourcesPrefix, PackagePrefix} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return rest == "tgz" || rest == "txz" || rest == "tzst"
		}
	}
	return false
}

// CheckFileName validates a file name that came from outside: the names of the
// protocol, or a clean relative path below metadata/. Anything else, in any
// folder, is ErrInvalid; upstream's extra names are left out of snapshots.
//
// pkg tells whether the file is of a package (else of a recipe).
func CheckFileName(name string, pkg bool) error {
	if IsMetadata(name) {
		return checkMetadataPath(name)
	}
	switch {
	case name == ManifestFile:
		return nil
	case pkg && (name == InfoFile || IsArchive(name) && strings.HasPrefix(name, PackagePrefix)):
		return nil
	case !pkg && (name == RecipeFile || IsArchive(name) && !strings.HasPrefix(name, PackagePrefix)):
		return nil
	}
	return fmt.Errorf("%w: %q is not a file of a Conan %s", ErrInvalid, clip(name), folderWord(pkg))
}

// IsV1File tells whether Conan 1 knows the name; other names do harm in a v1 snapshot.
func IsV1File(name string) bool {
	switch name {
	case ManifestFile, RecipeFile, InfoFile, "conan_export.tgz", "conan_sources.tgz", "conan_package.tgz":
		return true
	}
	return false
}

func checkMetadataPath(name string) error {
	bad := fmt.Errorf("%w: %q is not a clean path below %s", ErrInvalid, clip(name), MetadataDir)
	if len(name) > 1024 || !utf8.ValidString(name) || strings.Contains(name, `\`) {
		return bad
	}
	if strings.ContainsFunc(name, unicode.IsControl) { // a terminal obeys those of C1 too
		return bad
	}
	for _, segment := range strings.Split(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return bad
		}
	}
	return nil
}

func folderWord(pkg bool) string {
	if pkg {
		return "package"
	}
	return "recipe"
}
