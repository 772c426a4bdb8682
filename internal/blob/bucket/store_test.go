package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/blob"
	"conanproxy/internal/blob/blobtest"
	"conanproxy/internal/blob/bucket"
)

// The contract of a store, on a real S3 server.
func TestContract(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return newStand(t, nil) })
}

func readAll(t testing.TB, s blob.Store, d blob.Digest) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func wantBytes(t testing.TB, s blob.Store, want []byte) {
	t.Helper()
	got, err := readAll(t, s, blobtest.SumsOf(want).SHA256)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
}

// A large upload goes in parts and is one object.
func TestParts(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(b *bucket.Options, _ *blob.TieredOptions) { b.PartSize = 5 << 20 })
	b := blobtest.Content(1, 12<<20+5)
	blobtest.Put(t, s, b)
	if n := s.relay.Requests(http.MethodPut); n != 3 {
		t.Errorf("%d parts, want 3", n)
	}
	s.loseTier(t)
	wantBytes(t, s, b)
}

// A blob in the tier is a file, and costs no request.
func TestWarmIsFile(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 2<<20)
	d := blobtest.Put(t, s, b).SHA256
	before := s.relay.Requests("")
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, ok := r.(*os.File); !ok {
		t.Errorf("the reader is a %T", r)
	}
	if n := s.relay.Requests("") - before; n != 0 {
		t.Errorf("%d requests to the bucket", n)
	}
}

// Without the tier nothing is lost, and many readers share one request for each blob.
func TestLostTier(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	small, large := blobtest.Content(1, 1000), blobtest.Content(2, 5<<20)
	blobtest.Put(t, s, small)
	blobtest.Put(t, s, large)
	s.loseTier(t)
	hold := make(chan struct{})
	s.relay.Fault(func(http.ResponseWriter, *http.Request) bool { <-hold; return false })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { wantBytes(t, s, small) })
		all.Go(func() { wantBytes(t, s, large) })
	}
	for s.relay.Requests(http.MethodGet) < 2 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	all.Wait()
	if n := s.relay.Requests(http.MethodGet); n != 2 {
		t.Errorf("%d requests for two blobs", n)
	}
	if err := s.Close(); err != nil { // which waits for the fills
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), blobtest.SumsOf(large).SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, ok := r.(*os.File); !ok {
		t.Errorf("the tier was not filled: the reader is a %T", r)
	}
}

// gate stops a body after some bytes until it is opened.
type gate struct {
	io.Reader
	left int64
	open <-chan struct{}
}

// Read implements io.Reader.
func (g *gate) Read(p []byte) (int, error) {
	if g.left == 0 {
		<-g.open
		return g.Reader.Read(p)
	}
	n, err := g.Reader.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}

// A blob without a copy may be read while it is kept, small or large.
func TestReadWhileKept(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	for _, b := range [][]byte{blobtest.Content(1, 1000), blobtest.Content(2, 3<<20)} {
		d := blobtest.Put(t, s, b).SHA256
		s.loseTier(t)
		err := s.Keep(t.Context(), d, func() error {
			wantBytes(t, s, b)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A large blob is read while it arrives, but not its end before all of it is verified.
func TestFollow(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 4<<20)
	d := blobtest.Put(t, s, b).SHA256
	s.loseTier(t)
	open := make(chan struct{})
	s.relay.Change(func(_ *http.Request, r io.Reader) io.Reader {
		return &gate{Reader: r, left: int64(len(b)) - 1, open: open}
	})
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(b)-64<<10)
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, b[:len(got)]) {
		t.Fatalf("the beginning: %v", err)
	}
	tail := make(chan error, 1)
	go func() {
		rest, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(rest, b[len(got):]) {
			err = errors.New("wrong bytes")
		}
		tail <- err
	}()
	a, ok := r.(blob.Arriving)
	if !ok {
		t.Fatalf("the reader is a %T", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait before the end = %v", err)
	}
	select {
	case err := <-tail:
		t.Fatalf("the end was read before it arrived: %v", err)
	default:
	}
	close(open)
	if err := <-tail; err != nil {
		t.Error(err)
	}
	wantVerified(t, a, b)
}

// wantVerified waits for the verified reader and reads its end.
func wantVerified(t *testing.T, a blob.Arriving, b []byte) {
	t.Helper()
	v, err := a.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Seek(-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if last, err := io.ReadAll(v); err != nil || !bytes.Equal(last, b[len(b)-10:]) {
		t.Errorf("the last bytes of the verified one: %x, %v", last, err)
	}
}

// A copy in the tier that is damaged is got again from the bucket: a small one when it is opened,
// one of another size when its size is known.
func TestDamagedTier(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	small, large := blobtest.Content(1, 1000), blobtest.Content(2, 1<<20)
	for _, b := range [][]byte{small, large} {
		d := string(blobtest.Put(t, s, b).SHA256)
		path := filepath.Join(s.dir, "sha256", d[:2], d[2:])
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b[1:], 0o600)); err != nil {
			t.Fatal(err)
		}
		r, err := blob.OpenSized(t.Context(), s, blob.Digest(d), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(b))
		}
	}
}

// A copy in the tier that cannot be read is as good as none: the bucket has the bytes, and the
// object is not to blame.
func TestUnreadableCopy(t *testing.T) {
	t.Parallel()
	verify := func(t *testing.T, good bool, err error) {
		t.Helper()
		if !good || err != nil {
			t.Errorf("Verify = %v, %v", good, err)
		}
	}
	for name, use := range map[string]func(t *testing.T, s *stand, d blob.Digest){
		"opened": func(*testing.T, *stand, blob.Digest) {},
		"not to be removed": func(t *testing.T, s *stand, d blob.Digest) {
			if err := os.Mkdir(filepath.Join(s.copyFile(d), "in the way"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"verified": func(t *testing.T, s *stand, d blob.Digest) {
			good, err := s.Verify(t.Context(), d, nil)
			verify(t, good, err)
		},
		"verified alone": func(t *testing.T, s *stand, d blob.Digest) {
			good, err := blob.Copies{Tiered: s.Tiered}.Verify(t.Context(), d, nil)
			verify(t, good, err)
		},
		"uploaded in place of the object": func(t *testing.T, s *stand, d blob.Digest) {
			if err := s.SetAside(t.Context(), d, blob.Damaged); err != nil {
				t.Error(err)
			}
			blobtest.Put(t, s, blobtest.Content(1, 1000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			b := blobtest.Content(1, 1000)
			d := blobtest.Put(t, s, b).SHA256
			// No process can read a folder as a file, whatever its rights are.
			if err := errors.Join(os.Remove(s.copyFile(d)), os.Mkdir(s.copyFile(d), 0o700)); err != nil {
				t.Fatal(err)
			}
			use(t, s, d)
			wantBytes(t, s, b)
		})
	}
}

// The tier keeps its bound: what was unused longest goes, and open files stay readable.
func TestTierIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(_ *bucket.Options, o *blob.TieredOptions) { o.Max = 5 << 20 })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var contents [][]byte
	var open []blob.Reader
	old := time.Now().Add(-time.Hour)
	for i := range 8 {
		b := blobtest.Content(uint64(i), 1<<20)
		d := string(blobtest.Put(t, s, b).SHA256)
		contents = append(contents, b)
		r, err := s.Open(t.Context(), blob.Digest(d))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		open = append(open, r)
		used := old.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(filepath.Join(s.dir, "sha256", d[:2], d[2:]), used, used); err != nil {
			t.Fatal(err)
		}
	}
	wantBytes(t, s, contents[0]) // its use makes it the youngest
	go func() { s.Run(ctx); close(ended) }()
	inTier := func(b []byte) bool {
		d := string(blobtest.SumsOf(b).SHA256)
		_, err := os.Stat(filepath.Join(s.dir, "sha256", d[:2], d[2:]))
		return err == nil
	}
	for inTier(contents[3]) {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-ended
	for i, want := range []bool{true, false, false, false, false, true, true, true} {
		if got := inTier(contents[i]); got != want {
			t.Errorf("blob %d in the tier: %v, want %v", i, got, want)
		}
		if got, err := io.ReadAll(open[i]); err != nil || !bytes.Equal(got, contents[i]) {
			t.Errorf("blob %d cannot be read on: %v", i, err)
		}
		wantBytes(t, s, contents[i])
	}
}

// Copies that an earlier process left make way for what the disk has to keep free.
func TestTierKeepsDiskFree(t *testing.T) {
	t.Parallel()
	first := newStand(t, nil)
	b := blobtest.Content(1, 8<<20)
	d := string(blobtest.Put(t, first, b).SHA256)
	disk, err := blob.NewDisk(first.dir, blob.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := blob.NewTiered(blob.TieredOptions{Disk: disk, Objects: first.bucket, Keys: first.index, Max: 1 << 40, MinFree: 1 << 60})
	defer s.Close()
	free, err := disk.Free(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const noise = 4 << 20 // that others write meanwhile
	if n, err := s.Free(t.Context()); err != nil || n < free+int64(len(b))-noise {
		t.Errorf("Free = %d, %v; the disk has %d, and the copies can go", n, err, free)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	for _, err = os.Stat(filepath.Join(first.dir, "sha256", d[:2], d[2:])); err == nil; {
		time.Sleep(time.Millisecond)
		_, err = os.Stat(filepath.Join(first.dir, "sha256", d[:2], d[2:]))
	}
	stop()
	<-ended
	wantBytes(t, s, b)
}

// Clean removes what no row wants, and only when it is old enough.
func TestClean(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	named := blobtest.Put(t, s, []byte("an object that a blob of the index has"))
	key := func(b byte) string { return "aa/" + strings.Repeat(string(b), 64) + "-1" }
	pending := blob.Object{Key: key('a'), Digest: "x", Size: 1}
	if err := s.index.BeginObject(t.Context(), pending); err != nil {
		t.Fatal(err)
	}
	one := []byte("x")
	const foreign = "conanproxy" // of another installation, whose prefix is the folder of our objects
	for _, key := range []string{pending.Key, key('b'), foreign} {
		if err := s.bucket.Put(t.Context(), key, bytes.NewReader(one), blobtest.SumsOf(one)); err != nil {
			t.Fatal(err)
		}
	}
	list := func() (keys []string) {
		t.Helper()
		err := s.bucket.List(t.Context(), func(key string, _ int64, _ time.Time) error {
			keys = append(keys, key)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	if err := s.Clean(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if keys := list(); len(keys) != 4 {
		t.Errorf("a day was not over, but there are only %q", keys)
	}
	if err := s.Clean(t.Context(), time.Now().Add(25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if keys := list(); len(keys) != 2 || !strings.Contains(keys[0], string(named.SHA256)) || keys[1] != foreign {
		t.Errorf("after a day: %q", keys)
	}
	if garbage, err := s.index.Garbage(t.Context(), 10); err != nil || len(garbage) != 1 || garbage[0] != string(named.SHA256) {
		t.Errorf("garbage %q, %v; want the blob that the index does not know", garbage, err)
	}
}

// A deleted blob's object goes, and one that was uploaded again stays.
func TestRemoveDead(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := []byte("deleted and stored again")
	d := blobtest.Put(t, s, b).SHA256
	first := s.objectFile(t, d)
	if _, err := s.Delete(t.Context(), d, func() (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, s, b)
	if err := s.RemoveDead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the deleted object: %v", err)
	}
	s.loseTier(t)
	wantBytes(t, s, b)
}

// A blob that is deleted while its copy is made has none afterwards. Readers get the rest.
func TestDeleteDuringFill(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	s := newStand(t, func(_ *bucket.Options, o *blob.TieredOptions) { o.Metrics = blob.NewTierMetrics(metrics) })
	b := blobtest.Content(1, 4<<20)
	d := blobtest.Put(t, s, b).SHA256
	s.loseTier(t)
	open := make(chan struct{})
	s.relay.Change(func(_ *http.Request, r io.Reader) io.Reader {
		return &gate{Reader: r, left: 1 << 20, open: open}
	})
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := s.Delete(t.Context(), d, func() (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	close(open)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the reader got %d bytes, %v; want %d", len(got), err, len(b))
	}
	for fillsEnded(t, metrics) == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := os.Stat(s.copyFile(d)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy: %v", err)
	}
	if _, err := s.Open(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open = %v, want ErrNotFound", err)
	}
}

// fillsEnded counts the fills of a tier that ended.
func fillsEnded(t *testing.T, metrics prometheus.Gatherer) (sum float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "conanproxy_tier_fills_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// Lost rows are made again from the bucket.
func TestAdopt(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	b := blobtest.Content(1, 5000)
	blobtest.Put(t, s, b)
	other := newStand(t, func(o *bucket.Options, _ *blob.TieredOptions) { o.Prefix = s.prefix })
	if err := other.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, other, b)
}

// A bucket has the mark of one installation.
func TestMarker(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	if id, err := s.bucket.Marker(t.Context()); id != "" || err != nil {
		t.Errorf("a new bucket: %q, %v", id, err)
	}
	if err := s.bucket.Mark(t.Context(), "ours"); err != nil {
		t.Fatal(err)
	}
	if id, err := s.bucket.Marker(t.Context()); id != "ours" || err != nil {
		t.Errorf("a marked bucket: %q, %v", id, err)
	}
}
