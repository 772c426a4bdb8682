package conan

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"math"
	"slices"
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
	Mode   int64      // permission bits; 0 of a symlink, which has none
	MD5    string     // of the content of a regular file or of what a hard link names; lower-case hex
	Target string     // of a symlink, as it stands; of a hard link, the clean path
}

func (t MemberType) hasContent() bool { return t == RegularMember || t == HardlinkMember }

// Listing is the list of an archive's members in their order. It is packed, about 25 bytes and the
// names each, since archives of a million members exist.
type Listing struct {
	chunks  [][]byte // of whole records; see appendRecord
	count   int
	content [4]uint64
	sorted  []position // of all records, by path and order; made when it is needed first
}

// position is where a record lies: the number of its chunk and the offset there.
type position uint32

const chunkSize = 1 << 16

func (p position) split() (chunk, offset int) { return int(p / chunkSize), int(p % chunkSize) }

// Len is the number of members.
func (l *Listing) Len() int { return l.count }

// Members yields the members in the order of the archive.
func (l *Listing) Members() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for _, chunk := range l.chunks {
			for len(chunk) > 0 {
				r, rest := parseRecord(chunk)
				if !yield(r.member()) {
					return
				}
				chunk = rest
			}
		}
	}
}

// Content is a text that is equal for archives that differ in the order, times and owners of their
// members or in their compression only. Other names, kinds, modes, link targets or contents give
// another one.
func (l *Listing) Content() string {
	var b []byte
	for _, part := range l.content {
		b = binary.BigEndian.AppendUint64(b, part)
	}
	return hex.EncodeToString(b)
}

// add appends a member; the md5 of a hard link is set later. Memory for it is taken from the check.
func (l *Listing) add(c *Check, m Member) (position, error) {
	record := appendRecord(make([]byte, 0, 256), m)
	last := len(l.chunks) - 1
	if last < 0 || len(l.chunks[last])+len(record) > chunkSize {
		if err := c.need(chunkSize); err != nil {
			return 0, err
		}
		l.chunks = append(l.chunks, make([]byte, 0, chunkSize))
		last++
	}
	at := position(last*chunkSize + len(l.chunks[last]))
	l.chunks[last] = append(l.chunks[last], record...)
	l.count++
	if m.Type == HardlinkMember {
		m.MD5 = "" // follows from the target
		record = appendRecord(record[:0], m)
	}
	sum := sha256.Sum256(record) // the sum over all members does not depend on their order
	for i := range l.content {
		l.content[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
	return at, nil
}

// record is a member as it lies in a chunk.
type record struct {
	kind         MemberType
	md5          []byte // nil if it has no content
	mode         uint64
	path, target []byte
}

// appendRecord packs a member: kind, md5 if it has content, mode, path, and the target of a link.
func appendRecord(b []byte, m Member) []byte {
	b = append(b, byte(m.Type))
	if m.Type.hasContent() {
		var sum [md5.Size]byte
		_, _ = hex.Decode(sum[:], []byte(m.MD5)) // empty for a hard link, else made here
		b = append(b, sum[:]...)
	}
	b = binary.AppendUvarint(b, uint64(m.Mode))
	b = binary.AppendUvarint(b, uint64(len(m.Path)))
	b = append(b, m.Path...)
	if m.Type == HardlinkMember || m.Type == SymlinkMember {
		b = binary.AppendUvarint(b, uint64(len(m.Target)))
		b = append(b, m.Target...)
	}
	return b
}

// parseRecord reads a record that appendRecord made.
func parseRecord(b []byte) (r record, rest []byte) {
	r.kind, b = MemberType(b[0]), b[1:]
	if r.kind.hasContent() {
		r.md5, b = b[:md5.Size], b[md5.Size:]
	}
	text := func() []byte {
		size, n := binary.Uvarint(b)
		t := b[n : n+int(size)]
		b = b[n+int(size):]
		return t
	}
	mode, n := binary.Uvarint(b)
	r.mode, b = mode, b[n:]
	r.path = text()
	if r.kind == HardlinkMember || r.kind == SymlinkMember {
		r.target = text()
	}
	return r, b
}

func (r record) member() Member {
	m := Member{Path: string(r.path), Type: r.kind, Mode: int64(r.mode), Target: string(r.target)}
	if r.md5 != nil {
		m.MD5 = hex.EncodeToString(r.md5)
	}
	return m
}

func (l *Listing) at(p position) record {
	chunk, offset := p.split()
	r, _ := parseRecord(l.chunks[chunk][offset:])
	return r
}

// index sorts the records, so that before and isFolder work.
func (l *Listing) index(c *Check) error {
	if l.sorted != nil {
		return nil
	}
	const perRecord = 4
	if err := c.need(int64(perRecord * l.count)); err != nil {
		return err
	}
	l.sorted = make([]position, 0, l.count)
	for i, chunk := range l.chunks {
		for rest := chunk; len(rest) > 0; {
			l.sorted = append(l.sorted, position(i*chunkSize+len(chunk)-len(rest)))
			_, rest = parseRecord(rest)
		}
	}
	slices.SortFunc(l.sorted, func(a, b position) int {
		if c := bytes.Compare(l.at(a).path, l.at(b).path); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return nil
}

// before returns the place in the sorted list of the last record of a path that comes before a
// position; -1 if there is none.
func (l *Listing) before(path []byte, at position) int {
	i, _ := slices.BinarySearchFunc(l.sorted, at, func(p, at position) int {
		if c := bytes.Compare(l.at(p).path, path); c != 0 {
			return c
		}
		return cmp.Compare(p, at)
	})
	if i == 0 || !bytes.Equal(l.at(l.sorted[i-1]).path, path) {
		return -1
	}
	return i - 1
}

// last returns the last record of a path.
func (l *Listing) last(path string) (record, bool) {
	i := l.before([]byte(path), math.MaxUint32)
	if i < 0 {
		return record{}, false
	}
	return l.at(l.sorted[i]), true
}

// isFolder tells whether a folder of that path is a member or has members.
func (l *Listing) isFolder(path string) bool {
	if r, ok := l.last(path); ok && r.kind == DirMember {
		return true
	}
	below := []byte(path + "/")
	i, _ := slices.BinarySearchFunc(l.sorted, below, func(p position, below []byte) int { return bytes.Compare(l.at(p).path, below) })
	return i < len(l.sorted) && bytes.HasPrefix(l.at(l.sorted[i]).path, below)
}

// setHardLinks gives each hard link the md5 of the file that it names, which must come before it.
func (l *Listing) setHardLinks(c *Check, links []position) error {
	if len(links) == 0 {
		return nil
	}
	if err := l.index(c); err != nil {
		return err
	}
	if err := c.need(int64(4 * l.count)); err != nil {
		return err
	}
	// The place of the last record with content, of the same path, up to each place.
	withContent := make([]int32, len(l.sorted))
	for i, p := range l.sorted {
		r := l.at(p)
		switch {
		case r.md5 != nil:
			withContent[i] = int32(i)
		case i > 0 && bytes.Equal(l.at(l.sorted[i-1]).path, r.path):
			withContent[i] = withContent[i-1]
		default:
			withContent[i] = -1
		}
	}
	for _, link := range links {
		r := l.at(link)
		i := l.before(r.target, link)
		if i < 0 || withContent[i] < 0 {
			return fmt.Errorf("hard link %q names no file before it", clip(string(r.path)))
		}
		copy(r.md5, l.at(l.sorted[withContent[i]]).md5)
	}
	return nil
}

// MarshalText makes a text of printable ASCII that Check.ParseListing reads.
func (l *Listing) MarshalText() ([]byte, error) {
	b := slices.Concat(append([][]byte{{listingVersion}}, l.chunks...)...)
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// TextSize is the number of bytes that MarshalText gives.
func (l *Listing) TextSize() int {
	size := 1
	for _, c := range l.chunks {
		size += len(c)
	}
	return base64.StdEncoding.EncodedLen(size)
}

// listingVersion is the first byte of a listing as text, before its base64.
const listingVersion = 1

// ParseListing reads what MarshalText made. It is ErrInvalid for a text of another version.
func (c *Check) ParseListing(text string) (*Listing, error) {
	if err := c.need(int64(2 * len(text))); err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != listingVersion {
		return nil, fmt.Errorf("%w: not a list of members of this version", ErrInvalid)
	}
	l := new(Listing)
	for rest := b[1:]; len(rest) > 0; {
		var r record
		r, rest = parseRecord(rest)
		if _, err := l.add(c, r.member()); err != nil {
			return nil, err
		}
	}
	return l, nil
}
