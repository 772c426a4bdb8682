package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// Secret returns the password for the upstream: Password, or the first line of PasswordFile, read
// anew at each call. Without either it is empty.
func (u Upstream) Secret() (string, error) {
	if u.PasswordFile == "" {
		return u.Password, nil
	}
	secret, err := firstLine(u.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file of %s: %w", u.Name, err)
	}
	return secret, nil
}

// Secret returns the secret key: the first line of SecretKeyFile, read anew at each call.
func (s S3) Secret() (string, error) {
	secret, err := firstLine(s.SecretKeyFile)
	if err == nil && secret == "" {
		err = fmt.Errorf("%s is empty", s.SecretKeyFile)
	}
	if err != nil {
		return "", fmt.Errorf("blobs.s3.secret_key_file: %w", err)
	}
	return secret, nil
}

// firstLine reads the first line of a file.
func firstLine(path string) (string, error) {
	const limit = 64 << 10
	b, err := readFile(path, limit)
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r"))), err
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %s", path, Size(limit))
	}
	return b, nil
}
