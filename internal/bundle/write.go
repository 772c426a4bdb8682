package bundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"conanproxy/internal/conan"
)

// Write writes the bundle. If it fails, what was written is not a bundle.
func (p *Plan) Write(ctx context.Context, w io.Writer) error {
	out := tar.NewWriter(w)
	for _, e := range p.head {
		if err := writeEntry(out, e.name, e.text); err != nil {
			return err
		}
	}
	for _, f := range p.files {
		if err := p.writeFile(ctx, out, f); err != nil {
			return fmt.Errorf("write %s of %s: %w", f.info.Name, f.rev, err)
		}
	}
	return out.Close()
}

func writeEntry(out *tar.Writer, name string, text []byte) error {
	if err := writeHeader(out, name, int64(len(text))); err != nil {
		return err
	}
	_, err := out.Write(text)
	return err
}

func writeHeader(out *tar.Writer, name string, size int64) error {
	return out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644})
}

func (p *Plan) writeFile(ctx context.Context, out *tar.Writer, f file) error {
	answer, err := p.from.Open(ctx, f.rev, f.info.Name)
	if err != nil {
		return err
	}
	defer answer.Value.Close()
	if err := writeHeader(out, blobFolder+f.info.SHA256, f.info.Size); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(answer.Value, f.info.Size))
	if err != nil {
		return err
	}
	if n != f.info.Size || hex.EncodeToString(sum.Sum(nil)) != f.info.SHA256 {
		return fmt.Errorf("%w: it was changed meanwhile; create the bundle again", conan.ErrConflict)
	}
	return nil
}
