package conan

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
)

// xzReader unpacks one xz stream of LZMA2 blocks. The container is read here, since only so the
// size of a block's dictionary, which the file says, is known before memory is taken for it.
// The check sums of the blocks are not verified: every member is compared by its md5.
type xzReader struct {
	in    *byteCounter
	need  func(bytes int64) error // takes memory
	taken int64                   // for the dictionary; blocks may have several
	block io.Reader               // nil between blocks
	check int64                   // bytes of the check sum behind a block
	start int64                   // where the data of the block begins
	done  bool
}

// byteCounter counts what the decompressor takes; it never reads ahead.
type byteCounter struct {
	r     *bufio.Reader
	count int64
}

func (c *byteCounter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.count += int64(n)
	return n, err
}

func (c *byteCounter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.count++
	}
	return b, err
}

// take reads exactly n bytes.
func (c *byteCounter) take(n int64) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func newXZReader(r *bufio.Reader, need func(bytes int64) error) (*xzReader, error) {
	x := &xzReader{in: &byteCounter{r: r}, need: need}
	header, err := x.in.take(12)
	if err != nil {
		return nil, err
	}
	flags := header[6:8]
	if string(header[:6]) != xzMagic || flags[0] != 0 || crc32.ChecksumIEEE(flags) != binary.LittleEndian.Uint32(header[8:]) {
		return nil, errors.New("bad xz header")
	}
	sizes := map[byte]int64{0: 0, 1: 4, 4: 8, 10: 32} // none, CRC32, CRC64, SHA-256
	size, known := sizes[flags[1]]
	if !known {
		return nil, errors.New("unknown xz check sum")
	}
	x.check = size
	return x, nil
}

// Close implements io.Closer.
func (x *xzReader) Close() error { return nil }

// Read implements io.Reader.
func (x *xzReader) Read(b []byte) (int, error) {
	for !x.done {
		if x.block == nil {
			if err := x.nextBlock(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := x.block.Read(b)
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// nextBlock reads the header of a block, or the end of the stream.
func (x *xzReader) nextBlock() error {
	first, err := x.in.take(1)
	if err != nil {
		return err
	}
	if first[0] == 0 {
		x.done = true
		return x.readTail()
	}
	rest, err := x.in.take(int64(first[0])*4 + 3)
	if err != nil {
		return err
	}
	header := append(first, rest...)
	dictionary, err := parseXZBlockHeader(header)
	if err != nil {
		return err
	}
	if more := int64(dictionary) - x.taken; more > 0 {
		if err := x.need(more); err != nil {
			return err
		}
		x.taken += more
	}
	x.start = x.in.count
	x.block, err = lzma.Reader2Config{DictCap: dictionary}.NewReader2(x.in)
	return err
}

// parseXZBlockHeader returns the size of the dictionary.
func parseXZBlockHeader(header []byte) (int, error) {
	bad := errors.New("bad xz block header")
	fields, sum := header[:len(header)-4], header[len(header)-4:]
	if crc32.ChecksumIEEE(fields) != binary.LittleEndian.Uint32(sum) {
		return 0, bad
	}
	flags, fields := fields[1], fields[2:]
	if flags&0x3f != 0 {
		return 0, errors.New("xz filters other than LZMA2 are not supported")
	}
	for _, present := range []bool{flags&0x40 != 0, flags&0x80 != 0} { // packed and unpacked size
		if !present {
			continue
		}
		_, n := binary.Uvarint(fields)
		if n <= 0 {
			return 0, bad
		}
		fields = fields[n:]
	}
	const lzma2 = 0x21
	if len(fields) < 3 || fields[0] != lzma2 || fields[1] != 1 || fields[2] > 40 {
		return 0, bad
	}
	bits := fields[2]
	dictionary := uint64(2|bits&1) << (bits/2 + 11)
	if dictionary > maxUnpackWindow {
		return 0, fmt.Errorf("its dictionary of %d bytes is larger than %d", dictionary, maxUnpackWindow)
	}
	return int(dictionary), nil
}

// endBlock skips the padding and the check sum behind a block.
func (x *xzReader) endBlock() error {
	x.block = nil
	padding := -(x.in.count - x.start) & 3
	b, err := x.in.take(padding + x.check)
	if err != nil {
		return err
	}
	for _, pad := range b[:padding] {
		if pad != 0 {
			return errors.New("bad xz padding")
		}
	}
	return nil
}

// readTail reads the index (its first byte is gone) and the footer, behind which nothing may stand.
func (x *xzReader) readTail() error {
	start := x.in.count - 1
	records, err := binary.ReadUvarint(x.in)
	if err != nil {
		return err
	}
	for range records {
		for range 2 {
			if _, err := binary.ReadUvarint(x.in); err != nil {
				return err
			}
		}
	}
	padding := -(x.in.count - start) & 3
	footer, err := x.in.take(padding + 4 + 12)
	if err != nil {
		return err
	}
	if string(footer[len(footer)-2:]) != xzFooterMagic {
		return errors.New("bad xz footer")
	}
	if _, err := x.in.ReadByte(); err != io.EOF {
		return errors.New("something follows the end of the xz stream")
	}
	return nil
}
