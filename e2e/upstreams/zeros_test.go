package upstreams

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

const (
	zerosPart  = 64 << 20
	zerosParts = 69 // 4.3 GiB
)

// gzipped packs parts as one stream of several members.
func gzipped(t *testing.T, part []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(part)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// imageOfZeros is a package whose archive holds 4.3 GiB of zeros.
func imageOfZeros(t *testing.T, recipe conantest.Set) conantest.Set {
	t.Helper()
	var header bytes.Buffer
	err := tar.NewWriter(&header).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "disk.img", Size: zerosParts * zerosPart, Mode: 0o644, Format: tar.FormatPAX})
	if err != nil {
		t.Fatal(err)
	}
	zeros, sum := make([]byte, zerosPart), md5.New()
	packed := gzipped(t, zeros)
	archive := gzipped(t, header.Bytes())
	for range zerosParts {
		archive = append(archive, packed...)
		sum.Write(zeros)
	}
	archive = append(archive, gzipped(t, make([]byte, 1024))...) // the end mark
	pkg := conantest.Package(recipe)
	info := md5.Sum(pkg.Files[conan.InfoFile])
	manifest := fmt.Sprintf("1767323045\nconaninfo.txt: %s\ndisk.img: %s\n", hex.EncodeToString(info[:]), hex.EncodeToString(sum.Sum(nil)))
	pkg = pkg.With("conan_package.tgz", string(archive)).With(conan.ManifestFile, manifest)
	return pkg.As(pkg.Manifest().Summary())
}

// TestImageOfZeros: an image of 4.3 GiB of zeros goes through an upload and through a download from
// an upstream, in little memory.
func TestImageOfZeros(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks 4.3 GiB twice")
	}
	t.Parallel()
	recipe := conantest.Recipe("image", "1.0")
	pkg := imageOfZeros(t, recipe)
	everybody := harness.Settings{"auth": harness.Settings{"write": []harness.Settings{{"pattern": "*", "users": []string{"*"}}}}}
	first := e2etest.StartConanproxy(t, everybody)
	for _, set := range []conantest.Set{recipe, pkg} {
		for _, name := range append(set.Without(conan.ManifestFile).Names(), conan.ManifestFile) {
			put(t, fileURL(first.URL("local"), set.Revision, name), set.Files[name])
		}
	}
	second := e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("first", first.URL("local"))}})
	status, _, body := e2etest.Get(t, fileURL(second.URL(), pkg.Revision, "conan_package.tgz"))
	if want := pkg.Files["conan_package.tgz"]; status != http.StatusOK || body != string(want) {
		t.Errorf("status %d, %d bytes, want %d", status, len(body), len(want))
	}
	for what, p := range map[string]*e2etest.Conanproxy{"upload": first, "download": second} {
		if _, peak := p.Memory(); peak > 150<<20 {
			t.Errorf("%s: the server took %d MB", what, peak>>20)
		}
	}
}

// fileURL is a file of a revision in a view.
func fileURL(view string, rev conan.Revision, name string) string {
	url := view + "/v2/conans/" + rev.Ref.Path() + "/revisions/" + rev.RRev
	if rev.IsPackage() {
		url += "/packages/" + rev.PackageID + "/revisions/" + rev.PRev
	}
	return url + "/files/" + name
}

// put uploads a file.
func put(t *testing.T, url string, content []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Fatalf("PUT %s: %d %s", url, resp.StatusCode, text)
	}
}
