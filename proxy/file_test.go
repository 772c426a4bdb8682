package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/proxy/resolver"
)

const archivePath = helloV2 + "/revisions/r1/files/conan_export.tgz"

func fileWorld(t *testing.T, content string) *world {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", changed(recipeFiles, "conan_export.tgz", content))
	return w
}

func TestVerifiedFile(t *testing.T) {
	const content = "0123456789"
	w := fileWorld(t, content)
	info := infoOf("", []byte(content))
	etag := `"` + info.SHA256 + `"`
	tests := []struct {
		name, method string
		header       map[string]string
		want         int
		body         string
		contentRange string
		length       int
	}{
		{"whole", "GET", nil, 200, content, "", 10},
		{"with Accept-Encoding", "GET", map[string]string{"Accept-Encoding": "gzip, deflate"}, 200, content, "", 10},
		{"HEAD", "HEAD", nil, 200, "", "", 10},
		{"rest", "GET", map[string]string{"Range": "bytes=3-"}, 206, "3456789", "bytes 3-9/10", 7},
		{"middle", "GET", map[string]string{"Range": "bytes=3-4"}, 206, "34", "bytes 3-4/10", 2},
		{"past the end", "GET", map[string]string{"Range": "bytes=10-"}, 416, "", "bytes */10", 0},
		{"several ranges", "GET", map[string]string{"Range": "bytes=0-1,4-5"}, 200, content, "", 10},
		{"another unit", "GET", map[string]string{"Range": "lines=0-1"}, 200, content, "", 10},
		{"malformed", "GET", map[string]string{"Range": "bytes=x-y"}, 200, content, "", 10},
		{"backwards", "GET", map[string]string{"Range": "bytes=5-3"}, 200, content, "", 10},
		{"nothing", "GET", map[string]string{"Range": "bytes=-"}, 200, content, "", 10},
		{"no unit", "GET", map[string]string{"Range": "0-1"}, 200, content, "", 10},
		{"signed number", "GET", map[string]string{"Range": "bytes=+1-2"}, 200, content, "", 10},
		{"the last ones", "GET", map[string]string{"Range": "bytes=-3"}, 206, "789", "bytes 7-9/10", 3},
		{"If-Range of this", "GET", map[string]string{"Range": "bytes=3-", "If-Range": etag}, 206, "3456789", "bytes 3-9/10", 7},
		{"If-Range of another", "GET", map[string]string{"Range": "bytes=3-", "If-Range": `"x"`}, 200, content, "", 10},
		{"If-None-Match", "GET", map[string]string{"If-None-Match": etag}, 304, "", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := w.do(call{method: tt.method, path: archivePath, header: tt.header})
			wantStatus(t, resp, tt.want)
			if got := bodyOf(t, resp); got != tt.body && tt.want != 416 {
				t.Errorf("body %q, want %q", got, tt.body)
			}
			if got := resp.Header.Get("Content-Range"); got != tt.contentRange {
				t.Errorf("Content-Range %q, want %q", got, tt.contentRange)
			}
			if tt.want == 416 {
				return
			}
			if got := resp.Header.Get("ETag"); got != etag {
				t.Errorf("ETag %q, want %q", got, etag)
			}
			if tt.want == 304 {
				return
			}
			for name, want := range map[string]string{
				"Content-Type": "application/gzip", "Accept-Ranges": "bytes", "Content-Encoding": "",
				"Content-Length":  strconv.Itoa(tt.length),
				"X-Checksum-Sha1": info.SHA1, "X-Checksum-Sha256": info.SHA256, "X-Checksum-Md5": info.MD5,
				"Cache-Control":       "public, max-age=31536000, immutable",
				"X-Conanproxy-Source": "local", "X-Cache": "local", "Last-Modified": "",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s %q, want %q", name, got, want)
				}
			}
		})
	}
}

// A client that has a part of bytes which were replaced gets the whole file, until it can have none
// any more.
func TestRangeAfterAReplacement(t *testing.T) {
	w := fileWorld(t, "0123456789")
	w.local.replaced = w.now
	for _, tt := range []struct {
		later  time.Duration
		status int
		body   string
	}{{time.Minute, 200, "0123456789"}, {23 * time.Hour, 200, "0123456789"}, {25 * time.Hour, 206, "3456789"}} {
		w.now = w.local.replaced.Add(tt.later)
		resp := w.do(call{method: "GET", path: archivePath, header: map[string]string{"Range": "bytes=3-"}})
		if wantStatus(t, resp, tt.status); bodyOf(t, resp) != tt.body {
			t.Errorf("after %s: another body", tt.later)
		}
	}
}

func TestContentTypes(t *testing.T) {
	for name, want := range map[string]string{
		"conan_package.tgz": "application/gzip", "conan_package.txz": "application/x-xz", "conan_package.tzst": "application/zstd",
		"conanfile.py": textType, "conanmanifest.txt": textType,
		"metadata/report.html": "application/octet-stream", "metadata/x.svg": "application/octet-stream",
	} {
		if got := contentTypeOf(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestSmallFileIsServedLikeALargeOne(t *testing.T) {
	w := fileWorld(t, "x")
	const path = helloV2 + "/revisions/r1/files/conanfile.py"
	small := w.get(path)
	ranged := w.do(call{method: "GET", path: path, header: map[string]string{"Range": "bytes=0-"}})
	wantStatus(t, ranged, http.StatusPartialContent)
	for _, name := range []string{"Content-Type", "ETag", "Accept-Ranges", "Cache-Control", "X-Checksum-Sha1", "X-Checksum-Sha256", "X-Checksum-Md5", "Content-Length"} {
		if small.Header.Get(name) != ranged.Header.Get(name) || small.Header.Get(name) == "" {
			t.Errorf("%s: %q and %q", name, small.Header.Get(name), ranged.Header.Get(name))
		}
	}
}

func TestUnverifiedFile(t *testing.T) {
	content := strings.Repeat("0123456789", 20_000)
	w := fileWorld(t, content)
	w.local.filling = true
	resp := w.get(archivePath)
	wantStatus(t, resp, http.StatusOK)
	if bodyOf(t, resp) != content {
		t.Error("the body is another")
	}
	head := w.do(call{method: "HEAD", path: archivePath})
	wantStatus(t, head, http.StatusOK)
	for _, r := range []*http.Response{resp, head} {
		if r.Header.Get("Content-Length") != "200000" || r.Header.Get("ETag") != "" || r.Header.Get("Accept-Ranges") != "" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("header %v", r.Header)
		}
	}
	for _, header := range []map[string]string{{"Range": "bytes=199999-"}, {"Range": "bytes=199999-", "If-Range": `"` + infoOf("", []byte(content)).SHA256 + `"`}} {
		ranged := w.do(call{method: "GET", path: archivePath, header: header})
		wantStatus(t, ranged, http.StatusPartialContent)
		if got := bodyOf(t, ranged); got != "9" {
			t.Errorf("the rest is %q", got)
		}
	}
}

func TestFillThatFailsBeforeTheFirstByteIsTold(t *testing.T) {
	w := fileWorld(t, "0123456789")
	w.local.filling = true
	w.local.fillErr = &conan.UnavailableError{Member: "conancenter", Reason: "connection reset"}
	resp := w.do(call{method: "GET", path: archivePath, header: map[string]string{"Range": "bytes=0-"}})
	wantStatus(t, resp, http.StatusServiceUnavailable)
	small := w.get(helloV2 + "/revisions/r1/files/conanmanifest.txt")
	wantStatus(t, small, http.StatusServiceUnavailable)
	if small.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestFillThatFailsEndsTheBodyShort runs a real server: only there does a cut connection show.
func TestFillThatFailsEndsTheBodyShort(t *testing.T) {
	content := strings.Repeat("0123456789", 20_000)
	w := fileWorld(t, content)
	w.local.filling, w.local.fillCuts = true, 150_000
	server := httptest.NewServer(w.server)
	defer server.Close()
	resp, err := http.Get(server.URL + archivePath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || n >= int64(len(content)) {
		t.Errorf("got %d bytes and %v, want fewer than %d and an unexpected end", n, err, len(content))
	}
	server.Close()
	if lines := w.access.All(); len(lines) != 1 || lines[0].ContextMap()["aborted"] != true {
		t.Errorf("lines of the access log: %v", lines)
	}
	if w.log.FilterMessage("the body of an answer ended early").Len() != 1 {
		t.Error("the log does not say why")
	}
}

// fromCounter is a ResponseWriter that counts how bytes come.
type fromCounter struct {
	*httptest.ResponseRecorder
	froms, writes int
	files         int
}

func (c *fromCounter) ReadFrom(src io.Reader) (int64, error) {
	c.froms++
	if limited, ok := src.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			c.files++
		}
	}
	return io.Copy(c.ResponseRecorder.Body, src)
}

func (c *fromCounter) Write(p []byte) (int, error) {
	c.writes++
	return c.ResponseRecorder.Write(p)
}

// fileSource serves one *os.File, as the disk store does.
type fileSource struct {
	*memStore
	path string
}

func (s fileSource) Open(_ context.Context, _ conan.Revision, name string) (conan.Answer[*conan.File], error) {
	f, err := os.Open(s.path)
	if err != nil {
		return conan.Answer[*conan.File]{}, err
	}
	stat, err := f.Stat()
	if err != nil {
		return conan.Answer[*conan.File]{}, err
	}
	return answered(s.memStore, &conan.File{FileInfo: conan.FileInfo{Name: name, Size: stat.Size(), SHA256: strings.Repeat("a", 64)}, ReadCloser: f}, nil)
}

func TestSendfileIsNotHidden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	content := bytes.Repeat([]byte("x"), 3<<20+5)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.setViews(w.view("all", "", resolver.Member{Name: "local", Store: fileSource{w.local, path}}))
	for _, tt := range []struct {
		header string
		from   int
		froms  int
	}{{"", 0, 4}, {"bytes=1048576-", 1 << 20, 3}} {
		rec := &fromCounter{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequest("GET", archivePath, nil)
		if tt.header != "" {
			req.Header.Set("Range", tt.header)
		}
		w.server.ServeHTTP(rec, req)
		if rec.froms != tt.froms || rec.files != tt.froms || rec.writes != 0 {
			t.Errorf("range %q: %d ReadFrom, %d of files, %d Write; want %d, %d, 0", tt.header, rec.froms, rec.files, rec.writes, tt.froms, tt.froms)
		}
		if !bytes.Equal(rec.Body.Bytes(), content[tt.from:]) {
			t.Errorf("range %q: the body is another", tt.header)
		}
	}
	entries := w.access.All()
	if got := entries[0].ContextMap()["bytes"]; got != int64(len(content)) {
		t.Errorf("the access log counts %v bytes, want %d", got, len(content))
	}
}

func TestRefusedUploadIsDrained(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.server)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 8 << 20
	head := "PUT " + helloV2 + "/revisions/r1/files/conanfile.py HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatalf("the body was not taken: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if wantStatus(t, resp, http.StatusUnauthorized); resp.Close {
		t.Error("the connection is not used again")
	}
}

func TestBodyCutShort(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.server)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "PUT " + helloV2 + "/revisions/r1/files/conanfile.py HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + w.token("demo") + "\r\nContent-Length: 100\r\n\r\nhalf"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && resp.StatusCode != http.StatusConflict {
		t.Errorf("status %d, want 409 or none", resp.StatusCode)
	}
	if len(w.local.stages) != 0 {
		t.Error("half a file was stored")
	}
}

func TestV1SnapshotFetchesUnknownSums(t *testing.T) {
	w := newWorld(t)
	w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.upstream.noMD5, w.upstream.filling = true, true
	want := map[string]string{}
	for name, body := range recipeFiles {
		want[name] = infoOf("", []byte(body)).MD5
	}
	got := urlsOf(t, w.get(helloPath))
	for name := range recipeFiles {
		if got[name] != want[name] {
			t.Errorf("md5 of %s is %q, want %q", name, got[name], want[name])
		}
	}
}

func TestV1SnapshotDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
		w.upstream.noMD5, w.upstream.filling, w.upstream.hold = true, true, make(chan struct{})
		start := time.Now()
		resp := w.get(helloPath)
		wantStatus(t, resp, http.StatusServiceUnavailable)
		if took := time.Since(start); took != sumsTimeout {
			t.Errorf("it took %s, want %s", took, sumsTimeout)
		}
		if got := resp.Header.Get("Retry-After"); got != "5" {
			t.Errorf("Retry-After %q, want 5", got)
		}
		opened := w.upstream.count("Open")
		close(w.upstream.hold)
		wantStatus(t, w.get(helloPath), http.StatusOK)
		if opened != len(recipeFiles) {
			t.Errorf("%d files were opened at first, want all %d at once", opened, len(recipeFiles))
		}
	})
}

func TestV1SnapshotOfListedButMissingFileIsNot404(t *testing.T) {
	w := newWorld(t)
	w.upstream.have(t, "hello/1.0@demo/testing#r1", recipeFiles)
	w.upstream.noMD5 = true
	w.setViews(w.view("all", "", resolver.Member{Name: "conancenter", Source: forgetful{w.upstream}}))
	wantStatus(t, w.get(helloPath), statusShown)
}

// forgetful lists files that it does not have.
type forgetful struct{ *memStore }

func (s forgetful) Open(_ context.Context, rev conan.Revision, _ string) (conan.Answer[*conan.File], error) {
	return answered[*conan.File](s.memStore, nil, missing(rev))
}

// deadlineWriter is a connection that refuses what comes after its write deadline, as net/http's
// do.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
	late     bool
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }
func (w *deadlineWriter) SetReadDeadline(time.Time) error    { return nil }
func (w *deadlineWriter) WriteHeader(status int) {
	w.late = w.late || time.Now().After(w.deadline)
	w.ResponseRecorder.WriteHeader(status)
}

// slowReader gives one byte a minute.
type slowReader struct{ rest []byte }

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Minute)
	n := copy(p[:1], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestLongUploadIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		req := httptest.NewRequest("PUT", helloV2+"/revisions/r1/files/conanfile.py", &slowReader{[]byte("class Hello")})
		req.SetBasicAuth("demo", "demo")
		conn := &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
		w.server.ServeHTTP(conn, req)
		if conn.Code != http.StatusOK || conn.late {
			t.Errorf("status %d, after the deadline: %v, body %q", conn.Code, conn.late, conn.Body)
		}
	})
}
