package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/conan"
)

// archive is a body of which every part can be told from every other.
var archive = func() string {
	var b strings.Builder
	b.WriteString("\x1f\x8b")
	for i := range 2000 {
		fmt.Fprintf(&b, "%06d,", i)
	}
	return b.String()
}()

// rest answers a Range request from where it begins.
func rest(body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var from int
		fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		if w.Header().Get("Content-Range") == "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		}
		w.WriteHeader(http.StatusPartialContent)
		io.WriteString(w, body[from:])
	}
}

func whole(body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		io.WriteString(w, body)
	}
}

// hang sends the beginning, then nothing.
func hang(n int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Length", itoa(len(body)))
		io.WriteString(w, body[:n])
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	}
}

func TestResume(t *testing.T) {
	const half = 7000
	tag, date := `"abc"`, "Fri, 02 Jan 2026 03:04:05 GMT"
	other := strings.ToUpper(strings.Replace(archive, "0", "x", -1))
	cut := cutAfter(half, archive, "ETag", tag)
	tests := map[string]struct {
		answers     []http.HandlerFunc
		want        string // error of the read
		wantIfRange string // of the second question
		wantAsked   int
	}{
		"206 with the ETag":        {[]http.HandlerFunc{cut, rest(archive, "ETag", tag)}, "ok", tag, 2},
		"206 without any":          {[]http.HandlerFunc{cut, rest(archive)}, "ok", tag, 2},
		"206 with another ETag":    {[]http.HandlerFunc{cut, rest(archive, "ETag", `"def"`)}, "unavailable: changed conan_sources.tgz during its transfer", tag, 2},
		"by date":                  {[]http.HandlerFunc{cutAfter(half, archive, "Last-Modified", date), rest(archive, "Last-Modified", date)}, "ok", date, 2},
		"another date":             {[]http.HandlerFunc{cutAfter(half, archive, "Last-Modified", date), rest(archive, "Last-Modified", "Fri, 02 Jan 2026 03:04:06 GMT")}, "unavailable: changed conan_sources.tgz during its transfer", date, 2},
		"weak ETag is no If-Range": {[]http.HandlerFunc{cutAfter(half, archive, "ETag", "W/"+tag), rest(archive)}, "ok", "", 2},
		"unquoted ETag":            {[]http.HandlerFunc{cutAfter(half, archive, "ETag", "abc", "Last-Modified", date), rest(archive, "ETag", "abc", "Last-Modified", date)}, "ok", date, 2},
		"another unquoted ETag":    {[]http.HandlerFunc{cutAfter(half, archive, "ETag", "abc"), rest(archive, "ETag", "def")}, "unavailable: changed conan_sources.tgz during its transfer", "", 2},
		"200, unquoted ETag":       {[]http.HandlerFunc{cutAfter(half, archive, "ETag", "abc"), whole(archive, "ETag", "abc")}, "unavailable: cannot continue conan_sources.tgz", "", 2},
		"by length":                {[]http.HandlerFunc{cutAfter(half, archive), rest(archive)}, "ok", "", 2},
		"another length":           {[]http.HandlerFunc{cutAfter(half, archive), rest(archive + "x")}, "unavailable: continued conan_sources.tgz at another byte", "", 2},
		"no length":                {[]http.HandlerFunc{cutAfter(half, archive), rest(archive, "Content-Range", fmt.Sprintf("bytes %d-%d/*", half, len(archive)-1))}, "unavailable: continued conan_sources.tgz at another byte", "", 2},
		"another start":            {[]http.HandlerFunc{cut, rest(archive, "Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(archive)-1, len(archive)))}, "unavailable: continued conan_sources.tgz at another byte", tag, 2},
		"200, same ETag":           {[]http.HandlerFunc{cut, whole(archive, "ETag", tag)}, "ok", tag, 2},
		"200, same checksum":       {[]http.HandlerFunc{cutAfter(half, archive, "X-Checksum-Sha1", strings.Repeat("a", 40)), whole(archive, "X-Checksum-Sha1", strings.Repeat("a", 40))}, "ok", "", 2},
		"200, other checksum":      {[]http.HandlerFunc{cutAfter(half, archive, "X-Checksum-Sha1", strings.Repeat("a", 40)), whole(other, "X-Checksum-Sha1", strings.Repeat("b", 40))}, "unavailable: changed conan_sources.tgz during its transfer", "", 2},
		"200, no validator":        {[]http.HandlerFunc{cutAfter(half, archive), whole(archive)}, "unavailable: cannot continue conan_sources.tgz", "", 2},
		"200, only the date":       {[]http.HandlerFunc{cutAfter(half, archive, "Last-Modified", date), whole(archive, "Last-Modified", date)}, "unavailable: cannot continue conan_sources.tgz", date, 2},
		"cut twice":                {[]http.HandlerFunc{cut, cutAfter(1000, archive[half:], "ETag", tag, "Content-Range", "x"), rest(archive, "ETag", tag)}, "unavailable: cannot continue conan_sources.tgz", tag, 2},
		"falls silent":             {[]http.HandlerFunc{hang(half, archive, "ETag", tag), rest(archive, "ETag", tag)}, "ok", tag, 2},
		"server restarts":          {[]http.HandlerFunc{cut, status(502), status(502), rest(archive, "ETag", tag)}, "ok", tag, 4},
		"withdrawn":                {[]http.HandlerFunc{cut, notFoundHandler}, "unavailable: withdrew conan_sources.tgz during its transfer", tag, 2},
		"416":                      {[]http.HandlerFunc{cut, status(416)}, "unavailable: has less of the file than it sent before (416)", tag, 2},
		"web page":                 {[]http.HandlerFunc{cut, whole("<html>", "Content-Type", "text/html")}, "unavailable: answered with a web page instead of the file", tag, 2},
		"chunked, no validator":    {[]http.HandlerFunc{chunkedCut(half, archive), rest(archive)}, "unavailable: the transfer was cut", "", 1},
		"chunked, with one":        {[]http.HandlerFunc{chunkedCut(half, archive, "ETag", tag), rest(archive, "ETag", tag)}, "ok", tag, 2},
		"cut in the first bytes":   {[]http.HandlerFunc{cutAfter(10, archive), whole(archive)}, "ok", "", 2},
		"never gets anywhere":      {[]http.HandlerFunc{cut, partCut(archive, 0, tag)}, "unavailable: the transfer was cut", tag, 1 + maxResumes},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newFake(t, Options{}, script(test.answers...))
				file, err := r.Open(t.Context(), zlibRev(t), "conan_sources.tgz")
				if err != nil {
					t.Fatal(err)
				}
				got, err := readAll(t, file)
				if word(err) != test.want {
					t.Errorf("error %q, want %q", word(err), test.want)
				}
				if err == nil && got != archive {
					t.Errorf("read %d bytes of another content", len(got))
				}
				if err != nil && !strings.HasPrefix(archive, got) {
					t.Error("bytes of another content were handed out")
				}
				if err != nil && !errors.Is(err, conan.ErrUnavailable) {
					t.Errorf("error %#v", err)
				}
				if len(f.asked()) != test.wantAsked {
					t.Errorf("asked %d times, want %d", len(f.asked()), test.wantAsked)
				}
				if len(f.asked()) > 1 && name != "cut in the first bytes" {
					if got := f.header(1).Get("Range"); got != "bytes=7000-" {
						t.Errorf("Range is %q", got)
					}
					if got := f.header(1).Get("If-Range"); got != test.wantIfRange {
						t.Errorf("If-Range is %q, want %q", got, test.wantIfRange)
					}
				}
			})
		})
	}
}

func notFoundHandler(w http.ResponseWriter, _ *http.Request) { notFoundPage(w) }

func chunkedCut(n int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		io.WriteString(w, body[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// partCut continues with n more bytes and is cut again.
func partCut(body string, n int, tag string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var from int
		fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from)
		w.Header().Set("ETag", tag)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		w.Header().Set("Content-Length", itoa(len(body)-from))
		w.WriteHeader(http.StatusPartialContent)
		io.WriteString(w, body[from:min(from+n, len(body))])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestResumeSeveralTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := NewMetrics(prometheus.NewRegistry())
		r, _ := newFake(t, Options{Metrics: metrics}, script(cutAfter(100, archive, "ETag", `"a"`), partCut(archive, 3000, `"a"`)))
		file, err := r.Open(t.Context(), zlibRev(t), "conan_sources.tgz")
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(t, file)
		if got != archive || err != nil {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if resumes := value(t, metrics.resumes.WithLabelValues("test")); resumes != 5 {
			t.Errorf("%v resumes are counted, want 5", resumes)
		}
	})
}

// A transfer may last long, and a slow reader is not upstream's silence.
func TestSlowIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, f := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Length", itoa(len(archive)))
			for i := 0; i < len(archive); i += 1000 {
				io.WriteString(w, archive[i:min(i+1000, len(archive))])
				w.(http.Flusher).Flush()
				sleep(req.Context(), 25*time.Second)
			}
		})
		file, err := r.Open(t.Context(), zlibRev(t), "conan_sources.tgz")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var got strings.Builder
		buffer := make([]byte, 1500)
		for err == nil {
			var n int
			n, err = file.Read(buffer)
			got.Write(buffer[:n])
			time.Sleep(time.Minute)
		}
		if got.String() != archive || err != io.EOF || len(f.asked()) != 1 {
			t.Errorf("read %d bytes, %v, asked %d times", got.Len(), err, len(f.asked()))
		}
	})
}

// The place of a connection comes back at the end of the body, and at Close.
func TestTransfersGivePlacesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newFake(t, Options{MaxConnections: 2}, whole(archive))
		for i := range 6 {
			file, err := r.Open(t.Context(), zlibRev(t), "conan_sources.tgz")
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				file.Close()
			} else if _, err := io.ReadAll(file); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if _, err := r.Open(t.Context(), zlibRev(t), "conan_sources.txz"); err == nil {
				t.Fatal("the archive was accepted")
			}
		}
		if _, err := r.Open(t.Context(), zlibRev(t), "conan_sources.tgz"); err != nil {
			t.Error(err)
		}
	})
}

func TestContentRange(t *testing.T) {
	type result struct {
		Start, Total int64
		OK           bool
	}
	tests := map[string]result{
		"bytes 5-9/10":  {5, 10, true},
		"bytes 5-7/10":  {5, 10, true},
		"bytes 5-9/*":   {5, -1, true},
		"bytes 5-10/10": {5, 10, false},
		"bytes 9-5/10":  {},
		"bytes */10":    {},
		"bytes -5-9/10": {},
		"5-9/10":        {},
		"":              {},
		"items 5-9/10":  {},
	}
	for value, want := range tests {
		start, total, ok := contentRange(value)
		if diff := cmp.Diff(want, result{start, total, ok}); diff != "" {
			t.Errorf("%q: %s", value, diff)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, s string) {
		start, total, ok := contentRange(s)
		if ok && (start < 0 || total >= 0 && start >= total) {
			t.Errorf("%q became %d of %d", s, start, total)
		}
	})
}
