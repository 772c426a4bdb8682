package conan

import (
	"archive/tar"
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// MemberType is the kind of a member of an archive.
type MemberType byte

// The kinds that an archive of Conan may hold. Everything else, such as a device, is refused.
const (
	RegularMember MemberType = iota
	HardlinkMember
	SymlinkMember
	DirMember
)

// Member is one entry of an archive.
type Member struct {
	Path   string     // clean, relative, with slashes
	Type   MemberType //
	MD5    string     // of the content of a regular file or of what a hard link names; lower-case hex
	Target string     // of a symlink, as it stands; of a hard link, the clean path
}

// The bounds on one archive. They are far above real packages (hundreds of thousands of files,
// tens of gigabytes), and keep the list of members and the work within reason.
const (
	maxMembers      = 1_000_000
	maxMemberPath   = 4096      // bytes of one path or link target, as on Linux
	maxMemberDepth  = 255       // segments of one path
	maxMemberText   = 128 << 20 // bytes of all paths and link targets
	maxUnpackWindow = 128 << 20 // history that a decompressor must keep; zstd -22 and xz -9 need no more

	// An archive may unpack to freeUnpacked bytes, and beyond that to maxRatio times its
	// packed size: ordinary files shrink less than tenfold.
	freeUnpacked = 4 << 30
	maxRatio     = 100
)

// ListArchive lists the members of conan_{export,sources,package}.{tgz,txz,tzst} in their
// order, reading r to its end. It streams: what is kept in memory is the list, and the
// decompressor's window of at most 128 MiB.
//
// ErrInvalid, with a sentence, is returned for everything that is wrong with the bytes: a
// compression other than the one that the name says, damage, an end that comes too early,
// garbage behind the end, an unpacked size out of proportion, too many members or too long
// names, names that leave the folder (absolute, "..", below a symlink), links to nothing,
// devices and other special members. A failure of r itself is returned as it is, wrapped.
func ListArchive(name string, r io.Reader) ([]Member, error) {
	return listArchive(name, r, freeUnpacked)
}

func listArchive(name string, r io.Reader, free int64) ([]Member, error) {
	source := &packedReader{r: r}
	unpacked, err := decompress(name, source)
	if err == nil {
		defer unpacked.Close()
		l := lister{guard: &bombGuard{r: unpacked, packed: source, free: free}}
		if err = l.list(); err == nil {
			return l.members, nil
		}
	}
	if source.err != nil {
		return nil, fmt.Errorf("read %s: %w", name, source.err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	return nil, fmt.Errorf("%w: archive %s: %w", ErrInvalid, clip(name), err)
}

// packedReader counts the packed bytes and remembers a failure of the reader below.
type packedReader struct {
	r     io.Reader
	count int64
	err   error
}

func (p *packedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.count += int64(n)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		p.err = err
	}
	return n, err
}

// decompress chooses by the first bytes, which must agree with the ending of the name.
func decompress(name string, r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 32<<10)
	kind, err := compression(b)
	if err != nil {
		return nil, err
	}
	if !IsArchive(name) || path.Ext(name) != kind {
		return nil, fmt.Errorf("the content is a %s, the name says otherwise", kind[1:])
	}
	switch kind {
	case ".tgz":
		return gzip.NewReader(b)
	case ".txz":
		return newXZReader(b)
	}
	d, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxUnpackWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

func compression(b *bufio.Reader) (ext string, err error) {
	for _, magic := range []struct{ ext, bytes string }{
		{".tgz", "\x1f\x8b"},
		{".tzst", "\x28\xb5\x2f\xfd"},
		{".txz", xzMagic},
	} {
		head, err := b.Peek(len(magic.bytes))
		if err != nil {
			return "", err
		}
		if string(head) == magic.bytes {
			return magic.ext, nil
		}
	}
	return "", errors.New("the content is neither gzip, xz nor zstd")
}

// bombGuard ends the reading of an archive that unpacks out of proportion.
type bombGuard struct {
	r      io.Reader
	packed *packedReader
	free   int64
	count  int64
}

func (g *bombGuard) Read(b []byte) (int, error) {
	n, err := g.r.Read(b)
	g.count += int64(n)
	if g.count > g.free && g.count/maxRatio > g.packed.count {
		return n, fmt.Errorf("it unpacks to more than %d times its size", maxRatio)
	}
	return n, err
}

// lister makes the list of one archive.
type lister struct {
	guard   *bombGuard
	members []Member
	text    int // bytes of names so far

	files    map[string]string   // md5 by path; made when the first hard link comes
	symlinks map[string]struct{} // paths of symlinks
	safe     string              // a folder that is known not to lie below a symlink
	sum      hash.Hash
	buffer   []byte
}

func (l *lister) list() error {
	l.sum = md5.New()
	l.buffer = make([]byte, 32<<10)
	t := tar.NewReader(l.guard)
	for {
		header, err := t.Next()
		if err == io.EOF {
			return l.checkTail()
		}
		if err != nil {
			return err
		}
		if err := l.add(header, t); err != nil {
			return err
		}
	}
}

// checkTail reads what follows the end mark of the tar: zeros, or something is hidden there.
func (l *lister) checkTail() error {
	for {
		n, err := l.guard.Read(l.buffer)
		for _, b := range l.buffer[:n] {
			if b != 0 {
				return errors.New("something follows its end")
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (l *lister) add(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	member := Member{}
	if err := l.count(header); err != nil {
		return err
	}
	name, err := cleanMemberPath(header.Name)
	if err != nil {
		return err
	}
	if name == "." && header.Typeflag == tar.TypeDir {
		return nil
	}
	if err := l.checkFolder(name); err != nil {
		return err
	}
	member.Path = name
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("%q is a sparse file", clip(name))
		}
	}
	switch header.Typeflag {
	case tar.TypeReg:
		member.Type = RegularMember
		if member.MD5, err = l.digest(content); err != nil {
			return err
		}
	case tar.TypeLink:
		member.Type = HardlinkMember
		if member.Target, err = cleanMemberPath(header.Linkname); err != nil {
			return err
		}
		sum, ok := l.file(member.Target)
		if !ok {
			return fmt.Errorf("hard link %q names no file before it", clip(name))
		}
		member.MD5 = sum
	case tar.TypeSymlink:
		member.Type, member.Target = SymlinkMember, header.Linkname
		if l.symlinks == nil {
			l.symlinks = make(map[string]struct{})
		}
		l.symlinks[name], l.safe = struct{}{}, ""
	case tar.TypeDir:
		member.Type = DirMember
	default:
		return fmt.Errorf("%q is a device or another special file", clip(name))
	}
	if l.files != nil && member.MD5 != "" {
		l.files[name] = member.MD5
	}
	l.members = append(l.members, member)
	return nil
}

// count keeps the list within its bounds.
func (l *lister) count(header *tar.Header) error {
	l.text += len(header.Name) + len(header.Linkname)
	switch {
	case len(l.members) >= maxMembers:
		return fmt.Errorf("it has more than %d members", maxMembers)
	case len(header.Name) > maxMemberPath || len(header.Linkname) > maxMemberPath:
		return fmt.Errorf("the name or link target of %q is longer than %d bytes", clip(header.Name), maxMemberPath)
	case l.text > maxMemberText:
		return fmt.Errorf("its names are longer than %d bytes together", maxMemberText)
	}
	return nil
}

// checkFolder refuses a member below a symlink: unpacking would write through the link.
func (l *lister) checkFolder(name string) error {
	folder := path.Dir(name)
	if len(l.symlinks) == 0 || folder == "." || folder == l.safe {
		return nil
	}
	for f := folder; f != "."; f = path.Dir(f) {
		if _, bad := l.symlinks[f]; bad {
			return fmt.Errorf("%q lies below a symlink", clip(name))
		}
	}
	l.safe = folder
	return nil
}

func (l *lister) digest(content io.Reader) (string, error) {
	l.sum.Reset()
	if _, err := io.CopyBuffer(struct{ io.Writer }{l.sum}, content, l.buffer); err != nil {
		return "", err
	}
	return hex.EncodeToString(l.sum.Sum(nil)), nil
}

// file is the md5 of the file that the last member of that path brought.
func (l *lister) file(name string) (md5 string, ok bool) {
	if l.files == nil {
		l.files = make(map[string]string, len(l.members))
		for _, m := range l.members {
			if m.MD5 != "" {
				l.files[m.Path] = m.MD5
			}
		}
	}
	md5, ok = l.files[name]
	return md5, ok
}

// cleanMemberPath refuses what could leave the folder on any system that unpacks the
// archive: Windows takes the backslash for a separator too.
func cleanMemberPath(name string) (string, error) {
	bad := fmt.Errorf("the name %q leaves the folder", clip(name))
	if name == "" || name[0] == '/' || name[0] == '\\' {
		return "", bad
	}
	if len(name) >= 3 && name[1] == ':' && (name[2] == '/' || name[2] == '\\') {
		return "", bad
	}
	depth := 0
	for segment := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == ".." {
			return "", bad
		}
		depth++
	}
	if depth > maxMemberDepth {
		return "", fmt.Errorf("the name %q is deeper than %d folders", clip(name), maxMemberDepth)
	}
	return path.Clean(name), nil
}
