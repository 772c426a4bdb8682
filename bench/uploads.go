package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"conanproxy/internal/harness"
)

// rowUploads measures uploads, one large and many small.
func rowUploads(ctx context.Context, l *lab, o options, rep *report) error {
	if err := largeUpload(ctx, l, o, rep); err != nil {
		return err
	}
	return smallUploads(ctx, l, o, rep)
}

func largeUpload(ctx context.Context, l *lab, o options, rep *report) error {
	size, rounds := int64(1<<30), o.times(3)
	if o.quick {
		size = 32 << 20
	}
	dir, err := l.folder("uploads")
	if err != nil {
		return err
	}
	s, err := makeSample(dir, "large", "1.0", size, l.seed)
	if err != nil {
		return err
	}
	defer os.Remove(s.archive)
	var own, store, unzip series
	for range rounds {
		t, err := seconds(func() error { return storeOnce(s.archive, filepath.Join(dir, "copy")) })
		if err != nil {
			return err
		}
		store = append(store, t)
		if t, err = seconds(func() error { return unzipOnce(s.archive) }); err != nil {
			return err
		}
		unzip = append(unzip, t)
		if t, err = uploadOnce(ctx, l, s); err != nil {
			return err
		}
		own = append(own, t)
	}
	slower := max(store.median(), unzip.median())
	rep.add(result{Row: "uploads", Work: fmt.Sprintf("upload of %d MB", s.size>>20), Ratio: "time ÷ slower of write+fsync+sha256 and gunzip+md5", Value: own.median() / slower, Goal: 1.2, AtMost: true, Spread: own.spread(),
		Raw: map[string]float64{"upload s": own.median(), "write+fsync+sha256 s": store.median(), "gunzip+md5 s": unzip.median()}})
	return nil
}

// uploadOnce publishes a sample to an empty server and returns the seconds of the archive and the
// two small files.
func uploadOnce(ctx context.Context, l *lab, s *sample) (float64, error) {
	dir, err := l.folder("uploads")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	p, err := l.ours(ctx, dir, nil)
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	u, err := newUploader(ctx, p.URL()+"/local")
	if err != nil {
		return 0, err
	}
	if err := u.recipe(ctx, s); err != nil {
		return 0, err
	}
	return seconds(func() error { return u.pkg(ctx, s) })
}

// storeOnce is what any durable store must do: write, sha256, fsync.
func storeOnce(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer os.Remove(to)
	defer out.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(out, sha256.New())}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		return err
	}
	return out.Sync()
}

// unzipOnce is one pass of the standard gunzip and md5.
func unzipOnce(from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	zip, err := gzip.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{md5.New()}, zip, make([]byte, 1<<20))
	return err
}

func seconds(fn func() error) (float64, error) {
	begin := time.Now()
	err := fn()
	return time.Since(begin).Seconds(), err
}

// smallUploads publishes recipes with three small files each by eight clients, here and at
// conan_server.
func smallUploads(ctx context.Context, l *lab, o options, rep *report) error {
	recipes, rounds := 200, o.times(3)
	if o.quick {
		recipes = 40
	}
	var own, theirs series
	for round := range rounds {
		samples, err := l.smallSamples(recipes, round)
		if err != nil {
			return err
		}
		for _, name := range []string{"conanproxy", "conan_server"} {
			dir, err := l.folder("uploads")
			if err != nil {
				return err
			}
			var p *harness.Process
			if name == "conanproxy" {
				p, err = l.ours(ctx, dir, nil)
			} else {
				p, err = l.conanServer(ctx, dir)
			}
			if err != nil {
				return err
			}
			t, err := publishAll(ctx, p, samples)
			p.Stop()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if name == "conanproxy" {
				own = append(own, t)
			} else {
				theirs = append(theirs, t)
			}
		}
	}
	rep.add(result{Row: "uploads", Work: fmt.Sprintf("%d recipes of 3 files by 8 clients", recipes), Ratio: "conan_server's time ÷ ours", Value: theirs.median() / own.median(), Goal: 5, Spread: own.spread(),
		Raw: map[string]float64{"conanproxy s": own.median(), "conan_server s": theirs.median()}})
	return nil
}

// smallSamples are packages with one recipe file, one info and a small archive; three files are
// uploaded of each.
func (l *lab) smallSamples(n, round int) ([]*sample, error) {
	dir, err := l.folder("small")
	if err != nil {
		return nil, err
	}
	samples := make([]*sample, n)
	for i := range samples {
		if samples[i], err = makeSample(dir, fmt.Sprintf("small%03d", i), fmt.Sprintf("1.%d", round), 4<<10, l.seed+uint64(i)); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// publishAll publishes the packages (the recipes before the clock starts) and returns the seconds.
func publishAll(ctx context.Context, p *harness.Process, samples []*sample) (float64, error) {
	u, err := newUploader(ctx, p.URL())
	if err != nil {
		return 0, err
	}
	for _, s := range samples {
		if err := u.recipe(ctx, s); err != nil {
			return 0, err
		}
	}
	return seconds(func() error {
		work := make(chan *sample)
		errs := make(chan error, 8)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for s := range work {
					if err := u.pkg(ctx, s); err != nil {
						select {
						case errs <- err:
						default:
						}
					}
				}
			})
		}
		for _, s := range samples {
			work <- s
		}
		close(work)
		wg.Wait()
		close(errs)
		return <-errs
	})
}
