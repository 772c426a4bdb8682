package conan

import (
	"archive/tar"
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// The bounds on one archive. They are far above real packages (hundreds of thousands of files,
// tens of gigabytes), and keep the list of members and the work within reason.
const (
	maxMembers      = 1_000_000
	maxMemberPath   = 4096      // bytes of one path or link target, as on Linux
	maxMemberDepth  = 255       // segments of one path
	maxMemberText   = 64 << 20  // bytes of all paths and link targets
	maxUnpackWindow = 128 << 20 // history that a decompressor must keep; zstd -22 and xz -9 need no more

	// An archive that unpacks to more than smallUnpacked bytes and to more than smallRatio times
	// its packed size is a large check, so that all of them together keep one processor busy.
	smallUnpacked = 4 << 30
	smallRatio    = 100
	// An archive may unpack to maxUnpacked bytes, and beyond that to maxRatio times its packed
	// size, which is more than gzip reaches: an image of zeros is a legitimate file.
	maxUnpacked = 64 << 30
	maxRatio    = 1100

	// baseMemory is about what a listing takes beside the window and the list.
	baseMemory = 128 << 10
)

// List lists the members of conan_{export,sources,package}.{tgz,txz,tzst} in their order, reading
// r to its end. It streams: what is kept in memory is the list, and the decompressor's window of at
// most 128 MiB, both within the bounds of the check.
//
// ErrInvalid, with a sentence, is returned for everything that is wrong with the bytes: a
// compression other than the one that the name says, damage, an end that comes too early,
// garbage behind the end, an unpacked size out of all proportion, too many members or too long
// names, names that leave the folder (absolute, "..", below a symlink), links to nothing,
// devices and other special members. A failure of r itself is returned as it is, wrapped, and so
// is the end of the context of the check.
func (c *Check) List(name string, r io.Reader) (*Listing, error) {
	source := &packedReader{r: r}
	list, err := c.list(name, source)
	switch {
	case err == nil:
		return list, nil
	case source.err != nil:
		return nil, fmt.Errorf("read %s: %w", name, source.err)
	case errors.Is(err, errLarge), c.ctx != nil && c.ctx.Err() != nil:
		return nil, fmt.Errorf("list %s: %w", name, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it ends too early")
	}
	return nil, fmt.Errorf("%w: archive %s: %w", ErrInvalid, clip(name), err)
}

func (c *Check) list(name string, source *packedReader) (*Listing, error) {
	if err := c.need(baseMemory); err != nil {
		return nil, err
	}
	unpacked, err := c.decompress(name, source)
	if err != nil {
		return nil, err
	}
	defer unpacked.Close()
	l := lister{check: c, unpacked: &workGuard{check: c, r: unpacked, packed: source}, list: new(Listing)}
	if err := l.run(); err != nil {
		return nil, err
	}
	return l.list, nil
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

// decompress chooses by the first bytes, which must agree with the ending of the name. The memory
// for the window is taken before the window is made.
func (c *Check) decompress(name string, r io.Reader) (io.ReadCloser, error) {
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
		return newXZReader(b, c.need)
	}
	window, err := zstdWindow(b)
	if err != nil {
		return nil, err
	}
	if err := c.need(window); err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(window)))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// zstdWindow is the number of bytes that a decompressor must keep by the header of the first frame;
// the other frames are of the same stream and need no more.
func zstdWindow(b *bufio.Reader) (int64, error) {
	const least = 1 << 20
	head, err := b.Peek(zstd.HeaderMaxSize)
	if err != nil && err != io.EOF {
		return 0, err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return 0, err
	}
	window := h.WindowSize
	switch {
	case h.Skippable:
		return maxUnpackWindow, nil
	case h.SingleSegment:
		window = h.FrameContentSize
	}
	if window > maxUnpackWindow {
		return 0, fmt.Errorf("its window of %d bytes is larger than %d", window, maxUnpackWindow)
	}
	return max(int64(window), least), nil
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

// workGuard watches how far an archive unpacks.
type workGuard struct {
	check  *Check
	r      io.Reader
	packed *packedReader
	count  int64
}

func (g *workGuard) Read(b []byte) (int, error) {
	n, err := g.r.Read(b)
	g.count += int64(n)
	if g.count > maxUnpacked && g.count/maxRatio > g.packed.count {
		return n, fmt.Errorf("it unpacks to more than %d GiB and %d times its size", int64(maxUnpacked)>>30, maxRatio)
	}
	if g.count > smallUnpacked && g.count/smallRatio > g.packed.count {
		if err := g.check.grow(); err != nil {
			return n, err
		}
	}
	return n, err
}

// lister makes the list of one archive.
type lister struct {
	check    *Check
	unpacked *workGuard
	list     *Listing
	text     int // bytes of names so far

	links    []position          // of the hard links
	symlinks map[uint64]struct{} // hashes of the paths of symlinks
	safe     string              // a folder that is known not to lie below a symlink
	sum      hash.Hash
	buffer   []byte
}

// pathSeed makes the hashes of paths unpredictable, so that an archive cannot make two collide.
var pathSeed = maphash.MakeSeed()

func pathHash(p string) uint64 { return maphash.String(pathSeed, p) }

func (l *lister) run() error {
	l.sum = md5.New()
	l.buffer = make([]byte, 32<<10)
	t := tar.NewReader(l.unpacked)
	for {
		header, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := l.add(header, t); err != nil {
			return err
		}
	}
	if err := l.checkTail(); err != nil {
		return err
	}
	return l.list.setHardLinks(l.check, l.links)
}

// checkTail reads what follows the end mark of the tar: zeros, or something is hidden there.
func (l *lister) checkTail() error {
	for {
		n, err := l.unpacked.Read(l.buffer)
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
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("%q is a sparse file", clip(name))
		}
	}
	member := Member{Path: name, Mode: header.Mode & 0o7777}
	switch header.Typeflag {
	case tar.TypeReg:
		member.Type = RegularMember
		member.MD5, err = l.digest(content)
	case tar.TypeLink:
		member.Type = HardlinkMember
		member.Target, err = cleanMemberPath(header.Linkname)
	case tar.TypeSymlink:
		member.Type, member.Target, member.Mode = SymlinkMember, header.Linkname, 0
		err = l.addSymlink(name)
	case tar.TypeDir:
		member.Type = DirMember
	default:
		err = fmt.Errorf("%q is a device or another special file", clip(name))
	}
	if err != nil {
		return err
	}
	at, err := l.list.add(l.check, member)
	if member.Type == HardlinkMember {
		l.links = append(l.links, at)
	}
	return err
}

func (l *lister) addSymlink(name string) error {
	const perEntry = 40
	if err := l.check.need(perEntry); err != nil {
		return err
	}
	if l.symlinks == nil {
		l.symlinks = make(map[uint64]struct{})
	}
	l.symlinks[pathHash(name)], l.safe = struct{}{}, ""
	return nil
}

// count keeps the list within its bounds.
func (l *lister) count(header *tar.Header) error {
	l.text += len(header.Name) + len(header.Linkname)
	switch {
	case l.list.Len() >= maxMembers:
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
		if _, bad := l.symlinks[pathHash(f)]; bad {
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

// cleanMemberPath refuses what could leave the folder on any system that unpacks the
// archive: Windows takes the backslash for a separator too.
func cleanMemberPath(name string) (string, error) {
	bad := func() error { return fmt.Errorf("the name %q leaves the folder", clip(name)) }
	if name == "" || name[0] == '/' || name[0] == '\\' {
		return "", bad()
	}
	if len(name) >= 3 && name[1] == ':' && (name[2] == '/' || name[2] == '\\') {
		return "", bad()
	}
	depth := 0
	for segment := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == ".." {
			return "", bad()
		}
		depth++
	}
	if depth > maxMemberDepth {
		return "", fmt.Errorf("the name %q is deeper than %d folders", clip(name), maxMemberDepth)
	}
	return path.Clean(name), nil
}
