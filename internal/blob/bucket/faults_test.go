package bucket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/blobtest"
	"conanproxy/internal/blob/bucket"
	"conanproxy/internal/conan"
	"conanproxy/internal/harness"
	"conanproxy/internal/index"
)

// commit stores b and returns the error.
func commit(t testing.TB, s blob.Store, b []byte) error {
	t.Helper()
	w, err := s.Create(t.Context())
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Commit(t.Context(), nil)
}

// flip changes one bit of a body.
type flip struct {
	io.Reader
	at int64
}

// Read implements io.Reader.
func (f *flip) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}

// Wrong bytes on the way are never read to their end, and the next reader gets the right ones.
func TestWrongBytesOnTheWay(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			b := blobtest.Content(1, size)
			d := blobtest.Put(t, s, b).SHA256
			s.loseTier(t)
			var sent atomic.Int64
			s.relay.Change(func(_ *http.Request, r io.Reader) io.Reader {
				if sent.Add(1) == 1 {
					return &flip{r, 500}
				}
				return r
			})
			got, err := readAll(t, s, d)
			if !errors.Is(err, blob.ErrUnavailable) || len(got) > max(0, size-64<<10) {
				t.Errorf("%d of %d bytes were read, %v", len(got), size, err)
			}
			wantBytes(t, s, b)
		})
	}
}

// A damaged object is never read to its end, is reported, and is replaced by the next upload.
func TestDamagedObject(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 << 20} {
		for name, damage := range map[string]func(path string, b []byte) error{
			"changed": func(path string, b []byte) error {
				bad := bytes.Clone(b)
				bad[500] ^= 1
				return os.WriteFile(path, bad, 0o600)
			},
			"cut":  func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)-1], 0o600) },
			"lost": func(path string, _ []byte) error { return os.Remove(path) },
		} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				t.Parallel()
				s := newStand(t, nil)
				b := blobtest.Content(1, size)
				d := blobtest.Put(t, s, b).SHA256
				if err := damage(s.objectFile(t, d), b); err != nil {
					t.Fatal(err)
				}
				s.loseTier(t)
				got, err := readAll(t, s, d)
				if err == nil || len(got) > max(0, size-64<<10) {
					t.Errorf("%d of %d bytes were read, %v", len(got), size, err)
				}
				if name == "cut" {
					return // the server breaks its answer off; only a check of all objects can tell more
				}
				if _, err := readAll(t, s, d); !errors.Is(err, blob.ErrNotFound) {
					t.Errorf("the next reader gets %v, want ErrNotFound", err)
				}
				if n := s.logs.FilterField(blobField(d)).Len(); n == 0 {
					t.Error("the log does not name the blob")
				}
				blobtest.Put(t, s, b)
				s.loseTier(t)
				wantBytes(t, s, b)
			})
		}
	}
}

// An object that is not found once is asked for again before it counts as lost.
func TestNotFoundOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 1000)
	d := blobtest.Put(t, s, b).SHA256
	s.loseTier(t)
	var asked atomic.Int64
	s.relay.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || asked.Add(1) > 1 {
			return false
		}
		harness.S3Error(w, http.StatusNotFound, "NoSuchKey")
		return true
	})
	if _, err := readAll(t, s, d); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
	wantBytes(t, s, b)
}

// named has a published revision name a blob.
func named(t *testing.T, s *stand, sums blob.Sums) {
	t.Helper()
	member, err := s.index.Member(t.Context(), "store", index.KindStore)
	if err != nil {
		t.Fatal(err)
	}
	rev := conan.Revision{Ref: conan.Ref{Name: "lib", Version: "1.0"}, RRev: "r"}
	files := []conan.FileInfo{index.FileInfo(conan.RecipeFile, sums)}
	if err := s.index.PutRevision(t.Context(), member, rev, index.PutOptions{Time: time.Now(), Files: files}); err != nil {
		t.Fatal(err)
	}
}

// What was set aside by mistake is taken back: when it is asked for, and before it is removed. A
// damaged object is not.
func TestTakeBack(t *testing.T) {
	t.Parallel()
	takeBack := func(t *testing.T, s *stand, d blob.Digest) {
		t.Helper()
		if _, err := s.TakeBack(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	clean := func(t *testing.T, s *stand, _ blob.Digest) {
		t.Helper()
		if err := s.Clean(t.Context(), time.Now().Add(31*24*time.Hour)); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		mend    func(*testing.T, *stand, blob.Digest)
		named   bool
		damaged bool
		silent  bool // the bucket does not send objects
		stays   bool // the object, in the bucket
		back    bool
	}{
		"asked for":                  {mend: takeBack, named: true, stays: true, back: true},
		"asked for, damaged":         {mend: takeBack, named: true, damaged: true, stays: true},
		"asked for, without a name":  {mend: takeBack, stays: true},
		"after 30 days":              {mend: clean, named: true, stays: true, back: true},
		"after 30 days, damaged":     {mend: clean, named: true, damaged: true},
		"after 30 days, not wanted":  {mend: clean},
		"after 30 days, but not now": {mend: clean, named: true, silent: true, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			b := blobtest.Content(1, 1000)
			sums := blobtest.Put(t, s, b)
			if c.named {
				named(t, s, sums)
			}
			file := s.objectFile(t, sums.SHA256)
			s.loseTier(t)
			if err := s.SetAside(t.Context(), sums.SHA256, blob.Damaged); err != nil {
				t.Fatal(err)
			}
			if c.damaged {
				if err := os.WriteFile(file, bytes.ToUpper(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.silent {
				s.relay.Change(func(_ *http.Request, body io.Reader) io.Reader { return &cut{body, 0} })
			}
			c.mend(t, s, sums.SHA256)
			s.relay.Change(nil)
			if _, err := os.Stat(file); c.stays != (err == nil) {
				t.Errorf("the object: %v; it stays: %v", err, c.stays)
			}
			if _, err := readAll(t, s, sums.SHA256); c.back != (err == nil) {
				t.Errorf("it is read: %v; want it back: %v", err, c.back)
			}
		})
	}
}

// Bytes that change on the way to the bucket are refused by it.
func TestUploadIsChecked(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.relay.Fault(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			r.Body = struct {
				io.Reader
				io.Closer
			}{&flip{r.Body, 100}, r.Body}
		}
		return false
	})
	b := blobtest.Content(1, 1000)
	if err := commit(t, s, b); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Commit = %v, want ErrUnavailable", err)
	}
	if _, err := s.Stat(t.Context(), blobtest.SumsOf(b).SHA256); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Stat = %v, want ErrNotFound", err)
	}
}

// A server that asks for fewer requests is asked again, for a bounded time.
func TestSlowDown(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 1000)
	var refused atomic.Int64
	slow := func(times int64) {
		refused.Store(0)
		s.relay.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
			if refused.Add(1) > times {
				return false
			}
			harness.S3Error(w, http.StatusServiceUnavailable, "SlowDown")
			return true
		})
	}
	slow(2)
	if err := commit(t, s, b); err != nil {
		t.Fatal(err)
	}
	s.loseTier(t)
	slow(1 << 40)
	if _, err := readAll(t, s, blobtest.SumsOf(b).SHA256); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
	if n := refused.Load(); n > 10 {
		t.Errorf("it was asked %d times", n)
	}
	slow(2)
	wantBytes(t, s, b)
}

// cut ends a body with an error after some bytes.
type cut struct {
	io.Reader
	left int
}

// Read implements io.Reader.
func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("cut")
	}
	n, err := c.Reader.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// A transfer that is reset in the middle goes on where it was, if it gets on at all.
func TestReset(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 5<<20)
	d := blobtest.Put(t, s, b).SHA256
	s.loseTier(t)
	var ranges atomic.Int64
	s.relay.Change(func(r *http.Request, body io.Reader) io.Reader {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			ranges.Add(1)
		}
		return &cut{body, 1 << 20}
	})
	wantBytes(t, s, b)
	if ranges.Load() == 0 {
		t.Error("no part of the object was asked for")
	}
	s.loseTier(t)
	s.relay.Change(func(_ *http.Request, body io.Reader) io.Reader { return &cut{body, 0} })
	if _, err := readAll(t, s, d); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
}

// A server that stops in the middle is left after a time without a byte, and the rest is asked for.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(b *bucket.Options, _ *blob.TieredOptions) { b.Silence = 300 * time.Millisecond })
	b := blobtest.Content(1, 3<<20)
	blobtest.Put(t, s, b)
	s.loseTier(t)
	never := make(chan struct{})
	defer close(never)
	var sent atomic.Int64
	s.relay.Change(func(_ *http.Request, body io.Reader) io.Reader {
		if sent.Add(1) == 1 {
			return &gate{Reader: body, left: 1 << 20, open: never}
		}
		return body
	})
	wantBytes(t, s, b)
	if n := sent.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// A server that takes nothing is left too.
func TestSilentUpload(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(b *bucket.Options, _ *blob.TieredOptions) { b.Silence = 50 * time.Millisecond })
	s.relay.Fault(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done() // until the client goes
		return true
	})
	if err := commit(t, s, blobtest.Content(1, 1000)); !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("Commit = %v, want ErrUnavailable: it did not answer in time", err)
	}
}

// What an S3 server refuses is one sentence without addresses and secrets.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for code, c := range map[string]struct {
		status int
		says   string
	}{
		"RequestTimeTooSkewed": {403, "clock"},
		"ExpiredToken":         {400, "expired"},
		"InvalidAccessKeyId":   {403, "access key"},
		"AccessDenied":         {403, "no right"},
		"NoSuchBucket":         {404, "does not exist"},
		"QuotaExceeded":        {403, "full"},
		"XMinioStorageFull":    {507, "full"},
		"Strange":              {418, "418"},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			b := []byte("already stored")
			blobtest.Put(t, s, b)
			s.loseTier(t)
			s.relay.Refuse("", c.status, code)
			_, readErr := readAll(t, s, blobtest.SumsOf(b).SHA256)
			for what, err := range map[string]error{"Open": readErr, "Commit": commit(t, s, []byte("new"))} {
				if !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "127.0.0.1") {
					t.Errorf("%s = %v; want ErrUnavailable that says %q", what, err, c.says)
				}
			}
			s.relay.Fault(nil)
			wantBytes(t, s, b)
		})
	}
}

// A new secret key is in force without a restart, and no key is ever logged.
func TestSecretChanges(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	const wrong = "a-wrong-secret"
	s.secret = func() (string, error) { return wrong, nil }
	if _, err := s.bucket.Marker(t.Context()); !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "secret key") {
		t.Errorf("with a wrong secret: %v", err)
	}
	for _, line := range s.logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, wrong) || strings.Contains(text, harness.S3Secret) {
			t.Errorf("the log has a secret: %s", text)
		}
	}
}

// A server that is gone is an error at once, and what the tier has is read.
func TestGone(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 1000)
	blobtest.Put(t, s, b)
	s.relay.Close()
	wantBytes(t, s, b)
	if err := commit(t, s, []byte("new")); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Commit = %v, want ErrUnavailable", err)
	}
	s.loseTier(t)
	if _, err := readAll(t, s, blobtest.SumsOf(b).SHA256); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
}
