package conan

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Differences counts where archives and manifest name different things, in either direction.
type Differences struct {
	Unlisted int // members without a line in the manifest
	Absent   int // lines without a member
}

// CheckArchive compares one archive with the manifest of its revision, as a fill does: a
// member whose md5 differs from its line is ErrInvalid, what only one side names is counted.
func CheckArchive(m *Manifest, archive string, members []Member) (Differences, error) {
	c := contentCheck{manifest: m}
	c.archive(archive, members)
	return c.result()
}

// CheckContents compares the files of a whole revision with its manifest. archives has the
// members of every archive by its name, small the md5 of conanfile.py or conaninfo.txt.
//
// A regular file or hard link must have the md5 of its line. A symlink to a file must have
// the md5 of its target string (Conan 2) or of the content that it resolves to inside the
// archive (Conan 1); one that does not resolve inside is accepted. Folders and symlinks to
// folders need no line. What a client may leave out or pick up by itself (compiled Python,
// .DS_Store) is never a difference, unless both sides name it and the md5 differs.
//
// With strict, as at a publication, anything that only one side names is ErrInvalid as well,
// and so are two archives of one kind. The error names the first differing paths.
func CheckContents(m *Manifest, pkg bool, archives map[string][]Member, small map[string]string, strict bool) (Differences, error) {
	c := contentCheck{manifest: m, strict: strict}
	given := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(archives)) {
		kind := kindOf(name)
		if given[kind] && strict {
			return Differences{}, fmt.Errorf("%w: more than one %s archive", ErrInvalid, kind)
		}
		given[kind] = true
		c.archive(name, archives[name])
	}
	single := RecipeFile
	if pkg {
		single = InfoFile
	}
	c.single(single, small)
	if strict {
		c.linesWithoutArchive(pkg, given)
	}
	return c.result()
}

// contentCheck collects the differences of one revision.
type contentCheck struct {
	manifest *Manifest
	strict   bool
	diff     Differences
	changed  []string // the first sentences about paths with another md5
	onlyOne  []string // the first sentences about paths that only one side names
	more     int      // sentences left out
}

// maxSentences bounds the error text.
const maxSentences = 3

func (c *contentCheck) report(list *[]string, format string, args ...any) {
	if len(*list) == maxSentences {
		c.more++
		return
	}
	*list = append(*list, fmt.Sprintf(format, args...))
}

func (c *contentCheck) unlisted(name string) {
	if isLitter(name) {
		return
	}
	c.diff.Unlisted++
	c.report(&c.onlyOne, "%q is not in the manifest", clip(name))
}

func (c *contentCheck) absent(name string) {
	if isLitter(name) {
		return
	}
	c.diff.Absent++
	c.report(&c.onlyOne, "%q of the manifest is in no archive", clip(name))
}

func (c *contentCheck) result() (Differences, error) {
	sentences := c.changed
	if c.strict {
		sentences = append(sentences, c.onlyOne...)
	}
	if len(sentences) == 0 {
		return c.diff, nil
	}
	text := strings.Join(sentences, ", ")
	if c.more > 0 {
		text += fmt.Sprintf(", and %d more", c.more)
	}
	return c.diff, fmt.Errorf("%w: the files differ from %s: %s", ErrInvalid, ManifestFile, text)
}

// single compares conanfile.py or conaninfo.txt.
func (c *contentCheck) single(name string, small map[string]string) {
	got, have := small[name]
	want, listed := c.manifest.Files[name]
	switch {
	case have && listed && got != want:
		c.report(&c.changed, "%q has md5 %s instead of %s", name, clip(got), want)
	case have && !listed:
		c.unlisted(name)
	case listed && !have:
		c.absent(name)
	}
}

// archive compares the members of one archive, and its lines with them.
func (c *contentCheck) archive(name string, members []Member) {
	folder, pkg := "", strings.HasPrefix(name, PackagePrefix)
	if strings.HasPrefix(name, SourcesPrefix) {
		folder = sourceFolder
	}
	seen := make(map[string]struct{}, len(members))
	tree := memberTree{members: members}
	for i := range members {
		member := &members[i]
		if member.Type == DirMember {
			continue
		}
		listedAs := folder + member.Path
		want, listed := c.manifest.Files[listedAs]
		seen[listedAs] = struct{}{}
		if member.Type == SymlinkMember {
			c.symlink(listedAs, member, &tree, want, listed)
			continue
		}
		switch {
		case !listed:
			c.unlisted(listedAs)
		case member.MD5 != want:
			c.report(&c.changed, "%q has md5 %s instead of %s", clip(listedAs), member.MD5, want)
		}
	}
	for line := range c.manifest.paths() {
		if _, ok := seen[line]; !ok && archiveOfLine(line, pkg) == kindOf(name) {
			c.absent(line)
		}
	}
}

func (c *contentCheck) symlink(listedAs string, member *Member, tree *memberTree, want string, listed bool) {
	if listed && want == md5Hex(member.Target) {
		return
	}
	resolved, sum := tree.resolve(member)
	switch {
	case !listed && resolved == toFile:
		c.unlisted(listedAs)
	case listed && resolved == toFolder, listed && resolved == toFile && sum != want:
		c.report(&c.changed, "symlink %q has neither the md5 of its target nor of the content there (%s)", clip(listedAs), want)
	}
}

// linesWithoutArchive reports the lines whose archive is not there at all.
func (c *contentCheck) linesWithoutArchive(pkg bool, given map[string]bool) {
	for line := range c.manifest.paths() {
		if kind := archiveOfLine(line, pkg); kind != "" && !given[kind] {
			c.absent(line)
		}
	}
}

// kindOf is the name of an archive without its ending.
func kindOf(archive string) string {
	kind, _, _ := strings.Cut(archive, ".")
	return kind
}

// archiveOfLine is the kind of archive that holds a path of the manifest; empty for files of their own.
func archiveOfLine(line string, pkg bool) string {
	prefix := ExportPrefix
	switch {
	case pkg && line == InfoFile, !pkg && line == RecipeFile:
		return ""
	case pkg:
		prefix = PackagePrefix
	case strings.HasPrefix(line, sourceFolder):
		prefix = SourcesPrefix
	}
	return strings.TrimSuffix(prefix, ".")
}

// isLitter tells what a client may add to a folder after the manifest was written, or leave
// out of an archive although the manifest has it: Conan 1 drops these names by a setting that
// may differ between building and uploading, and Conan 2 packs what importing from a cached
// folder leaves behind.
func isLitter(name string) bool {
	base := path.Base(name)
	return base == ".DS_Store" || strings.HasSuffix(base, ".pyc") || strings.HasSuffix(base, ".pyo") ||
		strings.HasPrefix(base, "__conan") || strings.Contains("/"+name+"/", "/__pycache__/")
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// memberTree finds what the symlinks of one archive lead to.
type memberTree struct {
	members []Member
	byPath  map[string]*Member  // the last of each path; made when the first symlink asks
	folders map[string]struct{} // of every member
	work    int                 // done so far; see maxWork
}

// The ends of a symlink.
const (
	toNothing = iota // outside, missing, or round in a circle
	toFile
	toFolder
)

const (
	maxLinks = 40      // symlinks on one way, as on Linux
	maxWork  = 4 << 20 // lookups for all symlinks of an archive, long names counting more; beyond, nothing resolves
)

// resolve follows a symlink, component by component, and returns where it ends and the md5 of the file there.
func (t *memberTree) resolve(link *Member) (end int, sum string) {
	t.index()
	at, rest := path.Dir(link.Path), link.Target
	for links := 0; rest != ""; {
		if t.work += 1 + len(at)/64; t.work > maxWork || rest[0] == '/' {
			return toNothing, ""
		}
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		rest = strings.TrimLeft(rest, "/")
		if segment == ".." && at == "." {
			return toNothing, ""
		}
		at = path.Join(at, segment)
		member := t.byPath[at]
		if member == nil || member.Type != SymlinkMember {
			continue
		}
		if links++; links > maxLinks || len(member.Target)+len(rest) > maxMemberPath {
			return toNothing, ""
		}
		at, rest = path.Dir(at), member.Target+"/"+rest
	}
	if _, ok := t.folders[at]; ok || at == "." {
		return toFolder, ""
	}
	if member := t.byPath[at]; member != nil && member.MD5 != "" {
		return toFile, member.MD5
	}
	return toNothing, ""
}

func (t *memberTree) index() {
	if t.byPath != nil {
		return
	}
	t.byPath = make(map[string]*Member, len(t.members))
	t.folders = make(map[string]struct{})
	for i := range t.members {
		m := &t.members[i]
		t.byPath[m.Path] = m
		folder := path.Dir(m.Path)
		if m.Type == DirMember {
			folder = m.Path
		}
		for ; folder != "."; folder = path.Dir(folder) {
			if _, ok := t.folders[folder]; ok {
				break
			}
			t.folders[folder] = struct{}{}
		}
	}
}
