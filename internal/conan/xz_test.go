package conan

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os/exec"
	"testing"

	"github.com/ulikunitz/xz"
)

func withCRC(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.ChecksumIEEE(b))
}

func TestXZReader(t *testing.T) {
	content := bytes.Repeat([]byte("Conan packs what CMake built. "), 20_000)
	for name, config := range map[string]xz.WriterConfig{
		"CRC64":       {},
		"CRC32":       {CheckSum: xz.CRC32},
		"SHA-256":     {CheckSum: xz.SHA256},
		"no check":    {NoCheckSum: true},
		"many blocks": {BlockSize: 1 << 16},
	} {
		var b bytes.Buffer
		w, err := config.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		checkXZ(t, name, b.Bytes(), content)
	}
	checkXZ(t, "nothing", pack(t, "txz", nil), nil)
}

// TestXZReaderTool reads what the xz tool writes, also with the sizes in the block headers that -T
// makes.
func TestXZReaderTool(t *testing.T) {
	tool, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("no xz here")
	}
	content := bytes.Repeat([]byte("Conan packs what CMake built. "), 100_000)
	for _, args := range [][]string{{"-0"}, {"-9"}, {"-T2", "--block-size=100000"}, {"--check=sha256"}} {
		cmd := exec.Command(tool, append(args, "-c")...)
		cmd.Stdin = bytes.NewReader(content)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		checkXZ(t, args[0], packed, content)
	}
}

func checkXZ(t *testing.T, name string, packed, want []byte) {
	t.Helper()
	r, err := newXZReader(bufio.NewReader(bytes.NewReader(packed)), func(int64) error { return nil })
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, %v; want %d", name, len(got), err, len(want))
	}
}
