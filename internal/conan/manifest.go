package conan

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Manifest is a parsed conanmanifest.txt: the build time and the md5 of every unpacked file. It
// keeps the text and little more, since manifests of a million lines are possible.
type Manifest struct {
	Time  int64 // first line, Unix seconds by the clock of the build
	text  []byte
	lines []textLine // sorted by path
}

// textLine is where a line "path: md5" lies in the text.
type textLine struct{ start, end uint32 }

// MaxManifestSize bounds a manifest in memory; Boost's largest packages have about 2 MB.
const MaxManifestSize = 64 << 20

// separated is the length of the separator and the md5 at the end of a line.
const separated = len(": ") + 2*md5.Size

// ReadManifest reads and parses a manifest of size bytes within the bounds of the check. Errors of
// the content are ErrInvalid.
func (c *Check) ReadManifest(r io.Reader, size int64) (*Manifest, error) {
	if size > MaxManifestSize {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrInvalid, ManifestFile, MaxManifestSize)
	}
	const perLine = 8 // beside the text; the shortest line has 36 bytes
	if err := c.need(size + size/36*perLine); err != nil {
		return nil, err
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("read %s: %w", ManifestFile, err)
	}
	return ParseManifest(text)
}

// ParseManifest reads a manifest: an integer line, then "path: md5" lines, split at the last ": ".
// It keeps the text, which must not be modified any more. Errors are ErrInvalid.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) > MaxManifestSize {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrInvalid, ManifestFile, MaxManifestSize)
	}
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	t, err := strconv.ParseInt(string(bytes.TrimSpace(first)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: the first line of %s is not an integer time", ErrInvalid, ManifestFile)
	}
	m := &Manifest{Time: t, text: text, lines: make([]textLine, 0, bytes.Count(rest, []byte("\n"))+1)}
	for start := len(text) - len(rest); start < len(text); {
		end, next := len(text), len(text)
		if n := bytes.IndexByte(text[start:], '\n'); n >= 0 {
			end, next = start+n, start+n+1
		}
		line := bytes.TrimSuffix(text[start:end], []byte("\r"))
		if len(line) > 0 {
			if !validLine(line) {
				return nil, fmt.Errorf("%w: line %q of %s is not \"path: md5\"", ErrInvalid, clip(string(line)), ManifestFile)
			}
			m.lines = append(m.lines, textLine{uint32(start), uint32(start + len(line))})
		}
		start = next
	}
	return m, m.sort()
}

func validLine(line []byte) bool {
	at := len(line) - separated
	return at > 0 && string(line[at:at+2]) == ": " && IsMD5(string(line[at+2:]))
}

// sort orders the lines by path, of which none may stand twice.
func (m *Manifest) sort() error {
	compare := func(a, b textLine) int { return bytes.Compare(m.path(a), m.path(b)) }
	if !slices.IsSortedFunc(m.lines, compare) {
		slices.SortFunc(m.lines, compare)
	}
	for i := 1; i < len(m.lines); i++ {
		if path := m.path(m.lines[i]); bytes.Equal(path, m.path(m.lines[i-1])) {
			return fmt.Errorf("%w: %s lists %q twice", ErrInvalid, ManifestFile, clip(string(path)))
		}
	}
	return nil
}

func (m *Manifest) path(l textLine) []byte { return m.text[l.start : int(l.end)-separated] }

// Len is the number of files that the manifest lists.
func (m *Manifest) Len() int { return len(m.lines) }

// line returns the path and the md5 of a line; the lines are sorted by path.
func (m *Manifest) line(i int) (path, md5 string) {
	l := m.lines[i]
	return string(m.path(l)), string(m.text[int(l.end)-separated+2 : l.end])
}

// find returns the md5 of a path and its line, -1 if it is not listed.
func (m *Manifest) find(path string) (md5 string, line int) {
	i, ok := slices.BinarySearchFunc(m.lines, []byte(path), func(l textLine, path []byte) int { return bytes.Compare(m.path(l), path) })
	if !ok {
		return "", -1
	}
	_, md5 = m.line(i)
	return md5, i
}

// MD5 is that of a path, lower-case hex; empty if the manifest does not list it.
func (m *Manifest) MD5(path string) string {
	md5, _ := m.find(path)
	return md5
}

// Outline is what a manifest says of its revision as a whole.
type Outline struct {
	Time    int64  // by the clock of the build, Unix seconds
	Summary string // see Manifest.Summary
	// Small has the md5 of conanfile.py and conaninfo.txt, if they are listed.
	Small map[string]string
	// Which kinds of archive the manifest of a recipe needs: conan_export (paths besides
	// conanfile.py) and conan_sources (paths below export_source/).
	Export, Sources bool
}

// sourceFolder is where the members of conan_sources.* stand in a recipe manifest.
const sourceFolder = "export_source/"

// Outline sums the manifest up.
func (m *Manifest) Outline() Outline {
	o := Outline{Time: m.Time, Summary: m.Summary(), Small: make(map[string]string)}
	for _, name := range []string{RecipeFile, InfoFile} {
		if sum := m.MD5(name); sum != "" {
			o.Small[name] = sum
		}
	}
	for _, l := range m.lines {
		switch path := m.path(l); {
		case bytes.HasPrefix(path, []byte(sourceFolder)):
			o.Sources = true
		case string(path) != RecipeFile:
			o.Export = true
		}
	}
	return o
}

// Summary is the md5 of the lines without the time, sorted by path. It is the RREV of a recipe in
// hash mode, the PREV of a package, and the recipe_hash in Conan 1's conaninfo.
func (m *Manifest) Summary() string {
	sum := md5.New()
	for i, l := range m.lines {
		if i > 0 {
			sum.Write([]byte("\n"))
		}
		sum.Write(m.text[l.start:l.end])
	}
	sum.Write([]byte("\n"))
	return hex.EncodeToString(sum.Sum(nil))
}

// Missing lists what the manifest implies and the snapshot lacks, in words for an error:
// "conanfile.py", "conan_export.tgz"; empty if the set is complete. An archive may have any
// compression.
func (o Outline) Missing(s Snapshot, pkg bool) []string {
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
	if o.Export {
		needArchive(ExportPrefix)
	}
	if o.Sources {
		needArchive(SourcesPrefix)
	}
	return missing
}

// IsMD5 tells whether s is an md5 in lower-case hex, as a revision id is that was computed from a
// manifest.
func IsMD5(s string) bool {
	if len(s) != 2*md5.Size {
		return false
	}
	for _, c := range s {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
