package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

const archive = "conan_package.tgz"

// noise is text that tells one part of a file from another.
func noise(size int) string {
	r := rand.New(rand.NewPCG(1, uint64(size)))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// large publishes a package whose archive is a little larger than size.
func large(t testing.TB, up *fakeSource, size int) (pkg conan.Revision, content []byte) {
	t.Helper()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	pkg = up.addPackage(t, recipe, "[settings]\n", noise(size), 200)
	return pkg, up.files[pkg][archive]
}

// onlyArchive applies a way of sending to the archive of a package alone.
func onlyArchive(send func(content []byte) (io.Reader, int64)) func(conan.Revision, string, []byte) (io.Reader, int64) {
	return func(_ conan.Revision, name string, content []byte) (io.Reader, int64) {
		if name != archive {
			return bytes.NewReader(content), int64(len(content))
		}
		return send(content)
	}
}

// notStored fails the test if the cache holds the file or left anything behind.
func (b *bench) notStored(t testing.TB, rev conan.Revision, name string) {
	t.Helper()
	b.Cache.running.Wait()
	held, err := b.index.Held(context.Background(), b.o.Member, rev)
	if err == nil {
		if _, ok := held.Files.Find(name); ok {
			t.Errorf("%s of %s is stored", name, rev)
		}
	}
	if n := b.blobs.TempBytes(); n != 0 {
		t.Errorf("%d temporary bytes are left", n)
	}
	if n := b.budget.Leased(); n != 0 {
		t.Errorf("%d bytes are still leased", n)
	}
}

// A hundred clients, one download; they read along, and get the tail when all is verified.
func TestManyReadersOneFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, content := large(t, up, 4<<20)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		open := make(chan struct{})
		up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			return &gate{r: bytes.NewReader(content), left: 2 << 20, open: open, ctx: ctx}, int64(len(content))
		})
		b := newBench(t, up, nil)
		defer b.end(t)

		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				f, err := b.Open(context.Background(), pkg, archive)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				if f.Verified() || f.Size != int64(len(content)) {
					t.Errorf("%+v is verified: %v", f.FileInfo, f.Verified())
				}
				got := make([]byte, 2<<20)
				if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, content[:len(got)]) {
					t.Errorf("the first half: %v", err)
				}
				rest, err := io.ReadAll(f)
				if err != nil || !bytes.Equal(rest, content[len(got):]) {
					t.Errorf("the second half: %v", err)
				}
			})
		}
		synctest.Wait() // all have read the first half and wait
		close(open)
		all.Wait()
		synctest.Wait() // readers end when the bytes are checked; then they are made durable
		if n := up.times("open " + pkg.String() + " " + archive); n != 1 {
			t.Errorf("upstream sent the archive %d times", n)
		}
		if f, err := b.Open(context.Background(), pkg, archive); err != nil || !f.Verified() {
			t.Errorf("afterwards: %v", err)
		} else {
			f.Close()
		}
	})
}

// The tail waits for the check: until the last byte came, nobody has a complete body.
func TestTailIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, content := large(t, up, 2<<20)
		open := stopBeforeEnd(up)
		b := newBench(t, up, nil)
		defer b.end(t)
		f, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := 0
		var read sync.WaitGroup
		read.Go(func() {
			buf := make([]byte, 32<<10)
			for {
				n, err := f.Read(buf)
				got += n
				if err != nil {
					return
				}
			}
		})
		synctest.Wait()
		if got != len(content)-tail {
			t.Errorf("%d bytes were readable, want %d", got, len(content)-tail)
		}
		waited := make(chan error, 1)
		go func() {
			v, err := f.Wait(context.Background())
			if err == nil {
				if !v.Verified() || v.SHA256 == "" {
					err = errors.New("Wait returned an unverified file")
				}
				v.Close()
			}
			waited <- err
		}()
		synctest.Wait()
		select {
		case err := <-waited:
			t.Errorf("Wait returned before the end: %v", err)
		default:
		}
		close(open)
		read.Wait()
		if got != len(content) {
			t.Errorf("%d bytes in the end, want %d", got, len(content))
		}
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

// stopBeforeEnd has archives stop one byte before their end until the channel is closed.
func stopBeforeEnd(up *fakeSource) (open chan struct{}) {
	open = make(chan struct{})
	up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
		return &gate{r: bytes.NewReader(content), left: int64(len(content)) - 1, open: open, ctx: context.Background()}, int64(len(content))
	})
	return open
}

// A reader shares a download under way, also if upstream no longer lists the revision by then.
func TestDownloadOutlivesItsList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, content := large(t, up, 2<<20)
		open := stopBeforeEnd(up)
		b := newBench(t, up, func(o *Options, _ *space.Options) { o.FreshFor = time.Millisecond })
		defer b.end(t)
		first, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		time.Sleep(time.Second) // the list is no longer fresh
		up.remove(pkg)
		second, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatalf("the second reader: %v", err)
		}
		defer second.Close()
		close(open)
		got, err := io.ReadAll(second)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(content))
		}
	})
}

// Whatever upstream does to a body, no reader gets a complete wrong one, nothing bad stays, and the
// next try works.
func TestBadBodies(t *testing.T) {
	flip := func(content []byte, at int) []byte {
		bad := bytes.Clone(content)
		bad[at] ^= 0x10
		return bad
	}
	whole := func(b []byte) (io.Reader, int64) { return bytes.NewReader(b), int64(len(b)) }
	cases := map[string]func(content []byte) (io.Reader, int64){
		"a bit in the middle": func(c []byte) (io.Reader, int64) { return whole(flip(c, len(c)/2)) },
		"a bit in the head":   func(c []byte) (io.Reader, int64) { return whole(flip(c, 0)) },
		"a bit near the end":  func(c []byte) (io.Reader, int64) { return whole(flip(c, len(c)-2000)) },
		"cut":                 func(c []byte) (io.Reader, int64) { return bytes.NewReader(c[:len(c)-1]), int64(len(c)) },
		"cut to nothing":      func(c []byte) (io.Reader, int64) { return bytes.NewReader(nil), int64(len(c)) },
		"longer":              func(c []byte) (io.Reader, int64) { return bytes.NewReader(append(c, 'x')), int64(len(c)) },
		"cut, size unknown":   func(c []byte) (io.Reader, int64) { return bytes.NewReader(c[:len(c)/2]), -1 },
		"html":                func([]byte) (io.Reader, int64) { return whole([]byte("<html>")) },
		"an error": func(c []byte) (io.Reader, int64) {
			return io.MultiReader(bytes.NewReader(c[:len(c)/2]), iotest.ErrReader(errors.New("reset"))), int64(len(c))
		},
	}
	for name, send := range cases {
		for _, size := range []int{1000, 2 << 20} {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				up := newFake()
				pkg, content := large(t, up, size)
				up.body = onlyArchive(send)
				up.validator = func() string { return fmt.Sprint(up.body == nil) }
				b := newBench(t, up, nil)
				defer b.end(t)
				var all sync.WaitGroup
				for range 5 {
					all.Go(func() {
						if _, err := readAll(context.Background(), b.Cache, pkg, archive); !errors.Is(err, conan.ErrUnavailable) {
							t.Errorf("read: %v", err)
						}
					})
				}
				all.Wait()
				b.notStored(t, pkg, archive)
				up.set(func() { up.body = nil })
				if got := b.read(t, pkg, archive); !bytes.Equal(got, content) {
					t.Error("wrong bytes from a good upstream")
				}
			})
		}
	}
}

// Small files are checked before anybody sees a byte.
func TestVerification(t *testing.T) {
	info := "[settings]\nos=Linux\n"
	cases := map[string]struct {
		file   string
		pkg    bool
		change func(up *fakeSource, rev *conan.Revision, files map[string][]byte)
		bad    bool
	}{
		"manifest of another recipe": {file: conan.ManifestFile, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[conan.ManifestFile], _ = manifest(map[string]string{"conanfile.py": "other"})
		}},
		"manifest of a revision by commit": {file: conan.ManifestFile, change: func(up *fakeSource, rev *conan.Revision, f map[string][]byte) {
			rev.RRev = strings.Repeat("ab", 20)
			up.files[*rev] = f
		}},
		"manifest that is none": {file: conan.ManifestFile, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[conan.ManifestFile] = nil
		}},
		"manifest of another package": {file: conan.ManifestFile, pkg: true, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[conan.ManifestFile], _ = manifest(map[string]string{"conaninfo.txt": "other"})
		}},
		"another conanfile.py": {file: conan.RecipeFile, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[conan.RecipeFile] = append(f[conan.RecipeFile], '#')
		}},
		"any file under a wrong manifest": {file: conan.RecipeFile, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[conan.ManifestFile] = []byte("1\n")
		}},
		"another conaninfo.txt": {file: conan.InfoFile, pkg: true, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[conan.InfoFile] = []byte("[settings]\nos=Windows\n")
		}},
		"conaninfo.txt of another package id": {file: conan.InfoFile, pkg: true, bad: true, change: func(up *fakeSource, rev *conan.Revision, f map[string][]byte) {
			rev.PackageID = strings.Repeat("0", 40)
			up.files[*rev] = f
		}},
		"conaninfo.txt of Conan 1": {file: conan.InfoFile, pkg: true, change: func(up *fakeSource, rev *conan.Revision, f map[string][]byte) {
			f[conan.InfoFile] = []byte(info + "[full_settings]\n  os=Linux\n")
			f[conan.ManifestFile], rev.PRev = manifest(map[string]string{"conaninfo.txt": string(f[conan.InfoFile])})
			up.files[*rev] = f
		}},
		"archive with another file": {file: archive, pkg: true, bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[archive] = tgz(t, map[string]string{"lib/liba.a": "other"})
		}},
		"archive with one file more": {file: archive, pkg: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f[archive] = tgz(t, map[string]string{"lib/liba.a": "lib", "more": "x"})
		}},
		"sources with another file": {file: "conan_sources.tgz", bad: true, change: func(_ *fakeSource, _ *conan.Revision, f map[string][]byte) {
			f["conan_sources.tgz"] = tgz(t, map[string]string{"a.c": "other"})
		}},
		"other than the listed digest": {file: conan.RecipeFile, bad: true, change: func(up *fakeSource, _ *conan.Revision, _ map[string][]byte) {
			up.digests = func(_ conan.Revision, name string, content []byte) conan.FileInfo {
				return conan.FileInfo{Name: name, Size: int64(len(content)), MD5: md5Of([]byte(name))}
			}
		}},
		"other than the listed size": {file: conan.RecipeFile, bad: true, change: func(up *fakeSource, _ *conan.Revision, _ map[string][]byte) {
			up.digests = func(_ conan.Revision, name string, content []byte) conan.FileInfo {
				return conan.FileInfo{Name: name, Size: int64(len(content)) + 1}
			}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			up := newFake()
			rev := up.addRecipe(t, "zlib/1.3", "one", 100)
			if c.pkg {
				rev = up.addPackage(t, rev, info, "lib", 200)
			}
			c.change(up, &rev, up.files[rev])
			b := newBench(t, up, nil)
			defer b.end(t)
			got, err := readAll(context.Background(), b.Cache, rev, c.file)
			if c.bad {
				if !errors.Is(err, conan.ErrUnavailable) {
					t.Errorf("read: %v", err)
				}
				b.notStored(t, rev, c.file)
				return
			}
			if err != nil || !bytes.Equal(got, up.files[rev][c.file]) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// Clients leave: the download goes on for those who stay, and stops only if nobody comes back in
// time.
func TestLeavingClients(t *testing.T) {
	const size = 32 << 20
	cases := map[string]struct {
		arrived int64         // before the download stands still
		later   int64         // before it stands still again, if it went on meanwhile
		back    time.Duration // when another client comes; 0: never
		stored  bool
		sent    int // how often upstream sends the archive in all, the last time without a halt
	}{
		"at the beginning":             {arrived: 1 << 20, sent: 2},
		"at the beginning, and back":   {arrived: 1 << 20, back: grace - time.Second, sent: 1, stored: true},
		"at the beginning, back late":  {arrived: 1 << 20, back: grace + time.Second, sent: 2, stored: true},
		"at the beginning, and more":   {arrived: 1 << 20, later: size/2 + 1<<20, sent: 1, stored: true},
		"after half of it":             {arrived: size/2 + 1<<20, sent: 1, stored: true},
		"with a part of the last left": {arrived: size - 1<<20, sent: 1, stored: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				pkg, content := large(t, up, size)
				more, open := make(chan struct{}), make(chan struct{})
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
					rest := &gate{r: bytes.NewReader(content), left: max(c.arrived, c.later), open: open, ctx: ctx}
					return &gate{r: rest, left: c.arrived, open: more, ctx: ctx}, int64(len(content))
				})
				b := newBench(t, up, nil)
				defer b.end(t)
				f, err := b.Open(context.Background(), pkg, archive)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				f.Close()
				time.AfterFunc(grace/2, func() { close(more) })
				if err := f.Close(); err == nil {
					t.Error("a second Close is no error")
				}
				if c.back > 0 {
					time.Sleep(c.back)
					f, err := b.Open(context.Background(), pkg, archive)
					if err != nil {
						t.Fatal(err)
					}
					close(open)
					if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
						t.Errorf("the client that came back: %v", err)
					}
					f.Close()
				} else {
					time.Sleep(2 * grace)
					close(open)
				}
				synctest.Wait()
				held, err := b.index.Held(context.Background(), b.o.Member, pkg)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := held.Files.Find(archive); ok != c.stored {
					t.Errorf("stored: %v, want %v", ok, c.stored)
				}
				if got := b.read(t, pkg, archive); !bytes.Equal(got, content) {
					t.Error("wrong bytes in the end")
				}
				if n := up.times("open " + pkg.String() + " " + archive); n != c.sent {
					t.Errorf("upstream sent the archive %d times, want %d", n, c.sent)
				}
			})
		})
	}
}

// A client whose own context ends gets its error, and nobody else does.
func TestOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, content := large(t, up, 2<<20)
		open := make(chan struct{})
		up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			return &gate{r: bytes.NewReader(content), left: 1 << 20, open: open, ctx: context.Background()}, int64(len(content))
		})
		b := newBench(t, up, nil)
		defer b.end(t)
		impatient, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		first, err := b.Open(impatient, pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		second, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(first); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first client: %v", err)
		}
		first.Close()
		close(open)
		if got, err := io.ReadAll(second); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the second client: %v", err)
		}
		second.Close()
	})
}

// Who looked before a fill ended and joins after it does not have the file sent again.
func TestJoinTooLate(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	up.files[recipe]["metadata/log"] = []byte("log")
	b := newBench(t, up, nil)
	defer b.end(t)
	for _, name := range []string{conan.RecipeFile, "metadata/log"} {
		b.read(t, recipe, name)
		late, _, err := b.fetch(context.Background(), recipe, conan.FileInfo{Name: name, Size: -1})
		if err != nil || !late.Verified() {
			t.Fatal(err)
		}
		late.Close()
		if n := up.times("open " + recipe.String() + " " + name); n != 1 {
			t.Errorf("upstream sent %s %d times", name, n)
		}
	}
}

func TestUnknownSize(t *testing.T) {
	up := newFake()
	pkg, content := large(t, up, 3<<20)
	up.body = onlyArchive(func(content []byte) (io.Reader, int64) { return bytes.NewReader(content), -1 })
	b := newBench(t, up, nil)
	defer b.end(t)
	f, err := b.Open(context.Background(), pkg, archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !f.Verified() || f.Size != int64(len(content)) {
		t.Errorf("%+v", f.FileInfo)
	}
}

// heldBack is a store that makes nothing durable until it is let.
type heldBack struct {
	blob.Store
	let chan struct{}
}

func (s heldBack) Create(ctx context.Context) (blob.Writer, error) {
	w, err := s.Store.Create(ctx)
	return heldBackWriter{w, s.let}, err
}

type heldBackWriter struct {
	blob.Writer
	let chan struct{}
}

func (w heldBackWriter) Commit(ctx context.Context, record func(blob.Sums) error) error {
	<-w.let
	return w.Writer.Commit(ctx, record)
}

// A small file is handed out when it is verified; nobody waits for the disk.
func TestSmallFileIsNotWaitedFor(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
	let := make(chan struct{})
	b := newBench(t, up, func(o *Options, _ *space.Options) { o.Blobs = heldBack{o.Blobs, let} })
	defer b.end(t)
	for range 2 {
		f, err := b.Open(context.Background(), recipe, conan.ManifestFile)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if want := up.files[recipe][conan.ManifestFile]; err != nil || !bytes.Equal(got, want) || !f.Verified() || f.MD5 != md5Of(want) {
			t.Errorf("%q, %v, %+v", got, err, f.FileInfo)
		}
		f.Close()
	}
	stored := make(chan error)
	go func() { stored <- b.Store(context.Background(), recipe, conan.ManifestFile) }()
	select {
	case err := <-stored:
		t.Errorf("Store returned %v before the file was durable", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(let)
	if err := <-stored; err != nil {
		t.Error(err)
	}
	b.read(t, recipe, conan.ManifestFile)
	if n := up.times("open"); n != 1 {
		t.Errorf("upstream sent it %d times", n)
	}
}

// A row whose bytes are gone or cut short is healed by fetching them again.
func TestHeal(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":   os.Remove,
		"short":  func(path string) error { return os.Truncate(path, 1) },
		"longer": func(path string) error { return os.Truncate(path, 10<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			up := newFake()
			recipe := up.addRecipe(t, "zlib/1.3", "one", 100)
			b := newBench(t, up, nil)
			defer b.end(t)
			b.read(t, recipe, conan.RecipeFile)
			f, err := b.Open(context.Background(), recipe, conan.RecipeFile)
			if err != nil {
				t.Fatal(err)
			}
			path := f.ReadCloser.(*os.File).Name()
			f.Close()
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := b.read(t, recipe, conan.RecipeFile); !bytes.Equal(got, up.files[recipe][conan.RecipeFile]) {
					t.Error("wrong bytes")
				}
			}
			if n := up.times("open " + recipe.String() + " " + conan.RecipeFile); n != 2 {
				t.Errorf("upstream sent it %d times, want 2", n)
			}
		})
	}
}

// Downloads wait for their turn in the order of coming, and not for ever.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, _ := large(t, up, 2<<20)
		recipe := pkg.Recipe()
		open := make(chan struct{})
		b := newBench(t, up, func(o *Options, _ *space.Options) { o.MaxFills = 1 })
		defer b.end(t)
		b.read(t, recipe, conan.ManifestFile)
		b.read(t, pkg, conan.ManifestFile)
		up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			return &gate{r: bytes.NewReader(content), left: 1 << 20, open: open, ctx: context.Background()}, int64(len(content))
		})
		f, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var unavailable *conan.UnavailableError
		if _, err := b.Open(context.Background(), recipe, conan.RecipeFile); !errors.As(err, &unavailable) || unavailable.RetryAfter == 0 {
			t.Errorf("in a full queue: %v", err)
		}
		if took := time.Since(start); took != queueTimeout {
			t.Errorf("it waited %v, want %v", took, queueTimeout)
		}
		waited := make(chan error)
		go func() {
			_, err := readAll(context.Background(), b.Cache, recipe, conan.RecipeFile)
			waited <- err
		}()
		time.Sleep(time.Second)
		close(open)
		if err := <-waited; err != nil {
			t.Errorf("its turn came: %v", err)
		}
		f.Close()
	})
}

// What somebody reads, from the disk or while it arrives, is not evicted, and is so when they have
// closed it. If its rows go for another reason it stays readable.
func TestReadersKeepRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		up := newFake()
		pkg, content := large(t, up, 4<<20)
		const maxSize = 64 << 20
		b := newBench(t, up, func(_ *Options, q *space.Options) { q.MaxSize = maxSize })
		defer b.end(t)
		evict := func() bool { // whether anything was
			t.Helper()
			before := b.onDisk(t)
			if l, err := b.budget.LeaseCache(ctx, maxSize); err == nil {
				l.Release()
			}
			return b.onDisk(t) < before
		}
		open := func() *conan.File {
			t.Helper()
			f, err := b.Open(ctx, pkg, archive)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // stored, and not a byte read
			return f
		}
		along := open()
		hit := open()
		if along.Verified() || !hit.Verified() {
			t.Fatal("it was to be read while it arrives, and from the disk")
		}
		evict() // the recipe, which nobody reads
		if evict() {
			t.Error("evicted under two readers")
		}
		hit.Close()
		if evict() {
			t.Error("evicted under one who reads along")
		}
		hit = open()
		row, err := b.index.Find(ctx, b.o.Member, pkg)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.budget.Remove(ctx, []int64{row.RowID}); err != nil {
			t.Fatal(err)
		}
		if n := b.onDisk(t); n != 0 {
			t.Fatalf("%d bytes are left", n)
		}
		for what, f := range map[string]*conan.File{"along": along, "hit": hit} {
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %v", what, err)
			}
			f.Close()
		}
		if again := b.read(t, pkg, archive); !bytes.Equal(again, content) {
			t.Error("wrong bytes after that")
		}
		synctest.Wait()
		for evict() {
		}
		if n := b.onDisk(t); n != 0 {
			t.Errorf("%d bytes are left when nobody reads", n)
		}
	})
}

func TestCloseEndsFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFake()
		pkg, _ := large(t, up, 2<<20)
		ctx, cancel := context.WithCancel(context.Background())
		up.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			return &gate{r: bytes.NewReader(content), left: 1 << 20, open: nil, ctx: ctx}, int64(len(content))
		})
		b := newBench(t, up, nil)
		f, err := b.Open(context.Background(), pkg, archive)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, cancel) // what a real body does when the context of its Open ends
		b.Cache.Close()
		defer b.endStores(t)
		defer f.Close()
		if _, err := io.ReadAll(f); !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(t.TempDir(), "*", "blobs", "tmp", "*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// Whatever upstream sends and however clients come and go: each reader gets the right bytes or an
// error short of Size.
func TestReadersProperty(t *testing.T) {
	up := newFake()
	pkg, content := large(t, up, 5<<18)
	b := newBench(t, up, nil)
	defer b.end(t)
	rapid.Check(t, func(rt *rapid.T) {
		cut := rapid.IntRange(0, len(content)).Draw(rt, "cut")
		flip := rapid.IntRange(10, len(content)-1).Draw(rt, "flip") // the head of a gzip file is of no account
		sized := rapid.Bool().Draw(rt, "sized")
		bad := rapid.IntRange(0, 2).Draw(rt, "bad bodies")
		room := rapid.SampledFrom([]int64{0, 1 << 10, 64 << 20}).Draw(rt, "max size")
		clients := rapid.SliceOfN(rapid.IntRange(-1, len(content)), 1, 12).Draw(rt, "clients") // where they leave; -1: never

		sent := 0
		fake := newFake()
		fake.files, fake.lists = up.files, up.lists
		fake.validator = func() string { return fmt.Sprint(sent > bad) }
		fake.body = onlyArchive(func(content []byte) (io.Reader, int64) {
			sent++
			size := int64(len(content))
			if !sized {
				size = -1
			}
			if sent > bad {
				return bytes.NewReader(content), size
			}
			body := bytes.Clone(content)
			if flip < len(body) {
				body[flip] ^= 1
			}
			return bytes.NewReader(body[:cut]), size
		})
		b.Cache.Close()
		b.removeAll(t)
		b.up = fake
		b.start(t, func(_ *Options, q *space.Options) { q.MaxSize = room })
		var all sync.WaitGroup
		for _, leave := range clients {
			all.Go(func() {
				f, err := b.Open(context.Background(), pkg, archive)
				if err != nil {
					if !errors.Is(err, conan.ErrUnavailable) {
						rt.Errorf("open: %v", err)
					}
					return
				}
				defer f.Close()
				var r io.Reader = f
				if leave >= 0 {
					r = io.LimitReader(f, int64(leave))
				}
				got, err := io.ReadAll(r)
				switch {
				case err != nil:
					if int64(len(got)) >= f.Size {
						rt.Errorf("%d bytes before %v", len(got), err)
					}
				case leave < 0 && !bytes.Equal(got, content):
					rt.Errorf("a complete body of wrong bytes")
				}
			})
		}
		all.Wait()
		fake.set(func() { bad = 0 })
		got, err := readAll(context.Background(), b.Cache, pkg, archive)
		if err != nil { // a bad body may have been under way still
			got, err = readAll(context.Background(), b.Cache, pkg, archive)
		}
		if err == nil && !bytes.Equal(got, content) {
			rt.Errorf("wrong bytes in the end")
		}
		if err != nil && (sized || room == 0) {
			rt.Errorf("from a good upstream: %v", err)
		}
	})
}
