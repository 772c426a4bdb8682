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

// CompareArchive compares one archive with the manifest of its revision, as a download is checked:
// a member whose md5 differs from its line is ErrInvalid. Paths that only one side names are common
// among published packages, and harmless.
//
// A regular file or hard link must have the md5 of its line. A symlink to a file must have
// the md5 of its target string (Conan 2) or of the content that it resolves to inside the
// archive (Conan 1); one that does not resolve inside is accepted. Folders and symlinks to
// folders need no line. What a client may leave out or pick up by itself (compiled Python,
// .DS_Store) is never a difference, unless both sides name it and the md5 differs.
func (c *Check) CompareArchive(m *Manifest, archive string, list *Listing) error {
	cc := newContentCheck(m)
	if err := cc.archive(c, archive, list); err != nil {
		return err
	}
	return sentence(cc.changed)
}

// CompareRevision compares the files of a whole revision with its manifest, as a publication is
// checked. archives has the members of every archive by its name, small the md5 of conanfile.py or
// conaninfo.txt.
//
// Besides what CompareArchive refuses, ErrInvalid is returned for lines without a file, and for two
// archives of one kind. The error names the first differing paths. Members without a line are
// taken: extra names the first of them, and is empty if there is none. But none may stand in the
// place of conanmanifest.txt, conanfile.py or conaninfo.txt when the archive is unpacked.
func (c *Check) CompareRevision(m *Manifest, pkg bool, archives map[string]*Listing, small map[string]string) (extra string, err error) {
	cc := newContentCheck(m)
	given := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(archives)) {
		kind := kindOf(name)
		if given[kind] {
			return "", fmt.Errorf("%w: more than one %s archive", ErrInvalid, kind)
		}
		given[kind] = true
		if err := cc.archive(c, name, archives[name]); err != nil {
			return "", err
		}
	}
	single := RecipeFile
	if pkg {
		single = InfoFile
	}
	cc.single(single, small)
	cc.linesWithoutArchive(pkg, given)
	cc.changed.sentences = append(cc.changed.sentences, cc.absent.sentences...)
	cc.changed.more += cc.absent.more
	return cc.extra.String(), sentence(cc.changed)
}

// contentCheck collects the differences of one revision.
type contentCheck struct {
	manifest *Manifest
	seen     []bool  // by line: an archive has the path
	changed  phrases // paths with another md5
	absent   phrases // lines without a file
	extra    phrases // members without a line
}

func newContentCheck(m *Manifest) *contentCheck {
	return &contentCheck{manifest: m, seen: make([]bool, m.Len())}
}

// phrases are the first of some sentences.
type phrases struct {
	sentences []string
	more      int // left out
}

func (p *phrases) add(format string, args ...any) {
	const most = 3
	if len(p.sentences) == most {
		p.more++
		return
	}
	p.sentences = append(p.sentences, fmt.Sprintf(format, args...))
}

// String joins the sentences; empty if there are none.
func (p phrases) String() string {
	text := strings.Join(p.sentences, ", ")
	if p.more > 0 {
		text += fmt.Sprintf(", and %d more", p.more)
	}
	return text
}

func sentence(p phrases) error {
	if len(p.sentences) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the files differ from %s: %s", ErrInvalid, ManifestFile, p)
}

// single compares conanfile.py or conaninfo.txt, which must have a line.
func (c *contentCheck) single(name string, small map[string]string) {
	got, have := small[name]
	want, line := c.manifest.find(name)
	switch {
	case have && line < 0:
		c.changed.add("%q is not in the manifest", name)
	case have && got != want:
		c.changed.add("%q has md5 %s instead of %s", name, clip(got), want)
	case !have && line >= 0:
		c.absent.add("%q of the manifest is missing", name)
	}
}

// archive compares the members of one archive, and its lines with them.
func (c *contentCheck) archive(check *Check, name string, list *Listing) error {
	folder, pkg := "", strings.HasPrefix(name, PackagePrefix)
	if strings.HasPrefix(name, SourcesPrefix) {
		folder = sourceFolder
	}
	links := linkResolver{check: check, list: list}
	for member := range list.Members() {
		if member.Type == DirMember {
			continue
		}
		listedAs := folder + member.Path
		want, line := c.manifest.find(listedAs)
		if line >= 0 {
			c.seen[line] = true
		}
		switch {
		case member.Type == SymlinkMember:
			if err := c.symlink(listedAs, member, &links, want, line >= 0); err != nil {
				return err
			}
		case line < 0:
			c.unlisted(listedAs, pkg)
		case member.MD5 != want:
			c.changed.add("%q has md5 %s instead of %s", clip(listedAs), member.MD5, want)
		}
	}
	c.linesOf(kindOf(name), pkg)
	return nil
}

// unlisted takes a member without a line, unless it would stand in the place of a file of its own.
func (c *contentCheck) unlisted(name string, pkg bool) {
	switch {
	case name == ManifestFile, pkg && name == InfoFile, !pkg && name == RecipeFile:
		c.absent.add("%q is not in the manifest", name)
	case !isLitter(name):
		c.extra.add("%q", clip(name))
	}
}

// linesOf reports the lines of an archive's kind without a member.
func (c *contentCheck) linesOf(kind string, pkg bool) {
	for line := range c.manifest.Len() {
		if c.seen[line] {
			continue
		}
		if path, _ := c.manifest.line(line); archiveOfLine(path, pkg) == kind && !isLitter(path) {
			c.absent.add("%q of the manifest is in no archive", clip(path))
		}
	}
}

func (c *contentCheck) symlink(listedAs string, member Member, links *linkResolver, want string, listed bool) error {
	if listed && want == md5Hex(member.Target) {
		return nil
	}
	end, sum, err := links.resolve(member)
	switch {
	case err != nil:
		return err
	case !listed && end == toFile:
		c.extra.add("%q", clip(listedAs))
	case listed && end == toFolder, listed && end == toFile && sum != want:
		c.changed.add("symlink %q has neither the md5 of its target nor of the content there (%s)", clip(listedAs), want)
	}
	return nil
}

// linesWithoutArchive reports the lines whose archive is not there at all.
func (c *contentCheck) linesWithoutArchive(pkg bool, given map[string]bool) {
	prefixes := []string{ExportPrefix, SourcesPrefix}
	if pkg {
		prefixes = []string{PackagePrefix}
	}
	for _, prefix := range prefixes {
		if kind := kindOf(prefix); !given[kind] {
			c.linesOf(kind, pkg)
		}
	}
}

// kindOf is the name of an archive without its ending.
func kindOf(archive string) string {
	kind, _, _ := strings.Cut(archive, ".")
	return kind
}

// archiveOfLine is the kind of archive that holds a path of the manifest; empty for files of their
// own.
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

// linkResolver finds what the symlinks of one archive lead to.
type linkResolver struct {
	check *Check
	list  *Listing
	work  int // done so far; see maxWork
}

// The ends of a symlink.
const (
	toNothing = iota // outside, missing, or round in a circle
	toFile
	toFolder
)

const (
	maxLinks = 40 // symlinks on one way, as on Linux
	// lookups for all symlinks of an archive, long names counting more; beyond, nothing resolves
	maxWork = 2 << 20
)

// resolve follows a symlink, component by component, and returns where it ends and the md5 of the
// file there.
func (r *linkResolver) resolve(link Member) (end int, sum string, err error) {
	if err := r.list.index(r.check); err != nil {
		return toNothing, "", err
	}
	at, rest := path.Dir(link.Path), link.Target
	for links := 0; rest != ""; {
		if r.work += 1 + len(at)/64; r.work > maxWork || rest[0] == '/' {
			return toNothing, "", nil
		}
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		rest = strings.TrimLeft(rest, "/")
		if segment == ".." && at == "." {
			return toNothing, "", nil
		}
		at = path.Join(at, segment)
		member, ok := r.list.last(at)
		if !ok || member.kind != SymlinkMember {
			continue
		}
		if links++; links > maxLinks || len(member.target)+len(rest) > maxMemberPath {
			return toNothing, "", nil
		}
		at, rest = path.Dir(at), string(member.target)+"/"+rest
	}
	if at == "." || r.list.isFolder(at) {
		return toFolder, "", nil
	}
	if member, ok := r.list.last(at); ok && member.md5 != nil {
		return toFile, hex.EncodeToString(member.md5), nil
	}
	return toNothing, "", nil
}
