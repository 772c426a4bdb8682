package conan

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"iter"
	"sort"
	"strconv"
	"strings"
)

// Manifest is a parsed conanmanifest.txt: the build time and the md5 of every unpacked file.
type Manifest struct {
	Time  int64             // first line, Unix seconds by the clock of the build
	Files map[string]string // path → md5, lower-case hex; lines as they stand
	lines []string          // "path: md5", sorted by path
}

// MaxManifestSize bounds a manifest in memory; Boost's largest packages have about 2 MB.
const MaxManifestSize = 64 << 20

// ParseManifest reads a manifest: an integer line, then "path: md5" lines, split at the last ": ".
// Errors are ErrInvalid.
func ParseManifest(b []byte) (*Manifest, error) {
	first, rest, _ := bytes.Cut(b, []byte("\n"))
	t, err := strconv.ParseInt(strings.TrimSpace(string(first)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: the first line of %s is not an integer time", ErrInvalid, ManifestFile)
	}
	m := &Manifest{Time: t, Files: make(map[string]string)}
	for _, line := range strings.Split(string(rest), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		i := strings.LastIndex(line, ": ")
		if i <= 0 || !isMD5(line[i+2:]) {
			return nil, fmt.Errorf("%w: line %q of %s is not \"path: md5\"", ErrInvalid, clip(line), ManifestFile)
		}
		if _, twice := m.Files[line[:i]]; twice {
			return nil, fmt.Errorf("%w: %s lists %q twice", ErrInvalid, ManifestFile, clip(line[:i]))
		}
		m.Files[line[:i]] = line[i+2:]
		m.lines = append(m.lines, line)
	}
	sort.Slice(m.lines, func(i, j int) bool { return linePath(m.lines[i]) < linePath(m.lines[j]) })
	return m, nil
}

// Summary is the md5 of the lines without the time, sorted by path. It is the RREV of a recipe in
// hash mode, the PREV of a package, and the recipe_hash in Conan 1's conaninfo.
func (m *Manifest) Summary() string {
	sum := md5.Sum([]byte(strings.Join(m.lines, "\n") + "\n"))
	return hex.EncodeToString(sum[:])
}

// paths yields the paths in the order of the lines.
func (m *Manifest) paths() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range m.lines {
			if !yield(linePath(line)) {
				return
			}
		}
	}
}

// sourceFolder is where the members of conan_sources.* stand in a recipe manifest.
const sourceFolder = "export_source/"

// Implies tells which kinds of archive the manifest needs: for a recipe conan_export (paths besides
// conanfile.py) and conan_sources (paths below export_source/). A package always needs conan_package.
func (m *Manifest) Implies() (export, sources bool) {
	for name := range m.Files {
		switch {
		case strings.HasPrefix(name, sourceFolder):
			sources = true
		case name != RecipeFile:
			export = true
		}
	}
	return export, sources
}

// Missing lists what the manifest implies and the snapshot lacks, in words for an error:
// "conanfile.py", "conan_export.tgz"; empty if the set is complete. An archive may have any compression.
func (m *Manifest) Missing(s Snapshot, pkg bool) []string {
	var missing []string
	needFile := func(name string) {
		if _, ok := s.Find(name); !ok {
			missing = append(missing, name)
		}
	}
	needArchive := func(prefix string) {
		for _, f := range s {
			if strings.HasPrefix(f.Name, prefix) && IsArchive(f.Name) {
				return
			}
		}
		missing = append(missing, prefix+"tgz")
	}
	needFile(ManifestFile)
	if pkg {
		needFile(InfoFile)
		needArchive(PackagePrefix)
		return missing
	}
	needFile(RecipeFile)
	export, sources := m.Implies()
	if export {
		needArchive(ExportPrefix)
	}
	if sources {
		needArchive(SourcesPrefix)
	}
	return missing
}

// linePath is the path of a valid line.
func linePath(line string) string { return line[:len(line)-len(": ")-2*md5.Size] }

func isMD5(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, c := range s {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
