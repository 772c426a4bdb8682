package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// What lies in a data directory, beside the files below.
func blobsPath(dir string) string   { return filepath.Join(dir, "blobs") }
func indexPath(dir string) string   { return filepath.Join(dir, "index.db") }
func journalPath(dir string) string { return filepath.Join(dir, "blobs", "journal.jsonl") }
func secretPath(dir string) string  { return filepath.Join(dir, "secret") }

// checkDataDir refuses a folder that no server has used: commands must not make a store of it and
// report it as sound.
func checkDataDir(dir string) error {
	for _, path := range []string{indexPath(dir), blobsPath(dir)} {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	return usageError{fmt.Errorf("data_dir %s is no data directory of conanproxy: it has neither index.db nor blobs", dir)}
}

// lockDataDir makes the data directory and takes its lock, which the process holds until it ends.
// A second process gets an error that says so.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make data_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of data_dir: %w", err)
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("data_dir %s is in use by another conanproxy process", dir), f.Close())
	}
	return f, nil
}

// secretSize is the bytes of the key that signs tokens and file URLs; HS256 wants at least 32.
const secretSize = 48

// loadSecret reads the signing key, or makes one at the first start.
func loadSecret(dir string) ([]byte, error) {
	path := secretPath(dir)
	b, err := os.ReadFile(path)
	if err == nil {
		if len(b) < 32 {
			return nil, fmt.Errorf("%s has fewer than 32 bytes; remove it to have a new one made", path)
		}
		return b, checkPrivate(path)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	b = make([]byte, secretSize)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return b, writeSecret(dir, path, b)
}

// writeSecret makes the file whole or not at all.
func writeSecret(dir, path string, b []byte) error {
	f, err := os.CreateTemp(dir, "secret-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	return nil
}

// copySecret copies the signing key into another data directory. A directory that no server has
// used has none.
func copySecret(from, to string) error {
	b, err := os.ReadFile(secretPath(from))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy secret: %w", err)
	}
	return writeSecret(to, secretPath(to), b)
}

// checkPrivate refuses a file that others can read. On Windows a file's mode does not tell that.
func checkPrivate(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s must not be readable by others (mode %s); run: chmod 600 %s", path, strings.TrimPrefix(info.Mode().Perm().String(), "-"), path)
	}
	return nil
}
