package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"time"

	"conanproxy/internal/conan"
)

// sample is a package with its recipe, byte-true: digests, revisions and package id agree.
type sample struct {
	ref     string // name/version/_/_
	name    string
	rrev    string
	pid     string
	prev    string
	recipe  map[string][]byte
	files   map[string][]byte // of the package, without the archive
	archive string            // path of conan_package.tgz on disk
	payload string            // md5 of its one member
	size    int64             // of the archive
}

func (s *sample) recipeURL(base string) string {
	return base + "/v2/conans/" + s.ref + "/revisions/" + s.rrev
}

func (s *sample) packageURL(base string) string {
	return s.recipeURL(base) + "/packages/" + s.pid + "/revisions/" + s.prev
}

const archiveName = "conan_package.tgz"

// makeSample writes an archive of about size bytes of hardly compressible content, the rest stays in memory.
func makeSample(dir, name, version string, size int64, seed uint64) (*sample, error) {
	s := &sample{ref: name + "/" + version + "/_/_", name: name}
	recipe := fmt.Sprintf("from conan import ConanFile\n\n\nclass Pkg(ConanFile):\n    name = %q\n    version = %q\n    settings = \"os\", \"arch\"\n", name, version)
	manifest, rrev, err := manifestOf(map[string]string{conan.RecipeFile: md5Of([]byte(recipe))})
	if err != nil {
		return nil, err
	}
	s.rrev = rrev
	s.recipe = map[string][]byte{conan.RecipeFile: []byte(recipe), conan.ManifestFile: manifest}

	s.archive = filepath.Join(dir, name+"-"+version+".tgz")
	if s.payload, err = writeArchive(s.archive, size, seed); err != nil {
		return nil, err
	}
	stat, err := os.Stat(s.archive)
	if err != nil {
		return nil, err
	}
	s.size = stat.Size()
	return s.forOS("Linux")
}

// forOS is another package of the same recipe, with the same archive.
func (s *sample) forOS(os string) (*sample, error) {
	other := *s
	info := []byte("[settings]\narch=x86_64\nos=" + os + "\n")
	id := sha1.Sum(info)
	other.pid = hex.EncodeToString(id[:])
	manifest, prev, err := manifestOf(map[string]string{conan.InfoFile: md5Of(info), payloadName: s.payload})
	other.prev = prev
	other.files = map[string][]byte{conan.InfoFile: info, conan.ManifestFile: manifest}
	return &other, err
}

// payloadName is the one member of a sample's archive.
const payloadName = "lib/payload.a"

// writeArchive makes a .tgz with one member of half random, half repeated text, as object code compresses, and returns the member's md5.
func writeArchive(path string, size int64, seed uint64) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	zip, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	pack := tar.NewWriter(zip)
	// About half of the content is random, so that the archive is a little more than half of the payload.
	payload := size * 19 / 10
	if err := pack.WriteHeader(&tar.Header{Name: payloadName, Mode: 0o644, Size: payload, ModTime: time.Unix(1700000000, 0)}); err != nil {
		return "", err
	}
	sum := md5.New()
	random := rand.New(rand.NewPCG(seed, 7))
	chunk := make([]byte, 64<<10)
	for left := payload; left > 0; {
		n := min(left, int64(len(chunk)))
		fillHalfRandom(chunk[:n], random)
		sum.Write(chunk[:n])
		if _, err := pack.Write(chunk[:n]); err != nil {
			return "", err
		}
		left -= n
	}
	for _, c := range []interface{ Close() error }{pack, zip} {
		if err := c.Close(); err != nil {
			return "", err
		}
	}
	if err := buffered.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func fillHalfRandom(b []byte, random *rand.Rand) {
	const run = 512
	for i := 0; i < len(b); i += run {
		part := b[i:min(i+run, len(b))]
		if i/run%2 == 0 {
			for j := range part {
				part[j] = byte(random.Uint32())
			}
			continue
		}
		for j := range part {
			part[j] = "\x00\x01\x48\x89\xe5\x5d\xc3\x90"[j%8]
		}
	}
}

// manifestOf writes a manifest and its summary.
func manifestOf(files map[string]string) ([]byte, string, error) {
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	var b bytes.Buffer
	fmt.Fprintln(&b, 1700000000)
	for _, n := range names {
		fmt.Fprintf(&b, "%s: %s\n", n, files[n])
	}
	m, err := conan.ParseManifest(b.Bytes())
	if err != nil {
		return nil, "", err
	}
	return b.Bytes(), m.Summary(), nil
}

func md5Of(b []byte) string {
	s := md5.Sum(b)
	return hex.EncodeToString(s[:])
}

// uploader speaks the upload part of the v2 API.
type uploader struct {
	base   string
	token  string
	client *http.Client
}

func newUploader(ctx context.Context, base string) (*uploader, error) {
	u := &uploader{base: base, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/users/authenticate", nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(benchUser, benchPassword)
	resp, err := u.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("log in at %s: %s %s", base, resp.Status, b)
	}
	u.token = string(b)
	return u, nil
}

func (u *uploader) put(ctx context.Context, url string, body io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode >= 400 {
		return fmt.Errorf("PUT %s: %s: %s", url, resp.Status, text)
	}
	return nil
}

func (u *uploader) putBytes(ctx context.Context, url string, b []byte) error {
	return u.put(ctx, url, bytes.NewReader(b), int64(len(b)))
}

// recipe uploads the recipe of a sample, manifest last.
func (u *uploader) recipe(ctx context.Context, s *sample) error {
	url := s.recipeURL(u.base) + "/files/"
	if err := u.putBytes(ctx, url+conan.RecipeFile, s.recipe[conan.RecipeFile]); err != nil {
		return err
	}
	return u.putBytes(ctx, url+conan.ManifestFile, s.recipe[conan.ManifestFile])
}

// pkg uploads the package of a sample, manifest last.
func (u *uploader) pkg(ctx context.Context, s *sample) error {
	url := s.packageURL(u.base) + "/files/"
	f, err := os.Open(s.archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := u.put(ctx, url+archiveName, f, s.size); err != nil {
		return err
	}
	for _, name := range []string{conan.InfoFile, conan.ManifestFile} {
		if err := u.putBytes(ctx, url+name, s.files[name]); err != nil {
			return err
		}
	}
	return nil
}

// publish uploads everything.
func (u *uploader) publish(ctx context.Context, s *sample) error {
	if err := u.recipe(ctx, s); err != nil {
		return err
	}
	return u.pkg(ctx, s)
}

// get reads a whole answer and returns its status, type, body and the time to the first byte.
func get(ctx context.Context, url string) (status int, header http.Header, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body, err
}

// transfer is one download as a client sees it.
type transfer struct {
	firstByte, total time.Duration
	bytes            int64
}

// download reads a body and throws it away.
func download(ctx context.Context, url string) (transfer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return transfer{}, err
	}
	begin := time.Now()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return transfer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return transfer{}, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	var t transfer
	one := make([]byte, 1)
	n, err := io.ReadFull(resp.Body, one)
	if err != nil {
		return transfer{}, err
	}
	t.firstByte = time.Since(begin)
	rest, err := io.Copy(io.Discard, resp.Body)
	t.total, t.bytes = time.Since(begin), int64(n)+rest
	if err == nil && resp.ContentLength >= 0 && t.bytes != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}
