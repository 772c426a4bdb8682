package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"aead.dev/minisign"
)

// Key is a public key that signs bundles.
type Key = minisign.PublicKey

// ParseKeys reads public keys of minisign: the second line of a .pub file each.
func ParseKeys(texts []string) ([]Key, error) {
	keys := make([]Key, len(texts))
	for i, text := range texts {
		if err := keys[i].UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("%.80q is not a public key of minisign: %w", text, err)
		}
	}
	return keys, nil
}

// ReadSecretKey reads a secret key file of minisign. password is asked for the password of one that
// has one.
func ReadSecretKey(file string, password func() (string, error)) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text, err := os.ReadFile(file)
	if err != nil {
		return key, err
	}
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return key, fmt.Errorf("%s is not a secret key of minisign: %w", file, err)
		}
		return key, nil
	}
	secret, err := password()
	if err != nil {
		return key, err
	}
	if key, err = minisign.DecryptKey(secret, text); err != nil {
		return key, fmt.Errorf("%s: the password is wrong, or this is not a secret key of minisign", file)
	}
	return key, nil
}

// Sign copies a bundle that is not signed and puts a signature of its index before it.
func Sign(dst io.Writer, src io.Reader, key minisign.PrivateKey) error {
	var head bytes.Buffer
	in := tar.NewReader(io.TeeReader(src, &head))
	text, err := readEntry(in, indexName, maxIndex)
	if err != nil {
		return err
	}
	out := tar.NewWriter(dst)
	if err := writeEntry(out, signatureName, minisign.Sign(key, text)); err != nil {
		return err
	}
	if err := out.Flush(); err != nil { // without the end of the tar
		return err
	}
	if _, err := io.Copy(dst, &head); err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return err
}

// verify finds the key that signed an index.
func verify(text, signature []byte, keys []Key) error {
	for _, key := range keys {
		if minisign.Verify(key, text, signature) {
			return nil
		}
	}
	return errors.New("its signature is by none of the known keys, or the index was changed")
}
