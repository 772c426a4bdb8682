package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"conanproxy/internal/harness"
)

// sized is what one size of the store measured.
type sized struct {
	start                          float64 // seconds to the first answer
	prefix, middle, package_, list float64 // milliseconds
	all                            float64 // MB above idle while the full list is read
	idle, loaded                   float64 // MB of RSS
	upload                         float64 // seconds for some uploads
	evict                          float64 // seconds for some downloads that each evict another
	latest                         float64 // requests/s of warm answers
	file                           float64 // bytes/s of a warm file
}

// rowSize measures a large store, against fixed bounds and against an empty one.
func rowSize(ctx context.Context, l *lab, o options, rep *report) error {
	s := shape{refs: 100_000, packages: 10, wide: 5000}
	if o.quick {
		s = shape{refs: 2000, packages: 10, wide: 500}
	}
	empty, err := measureSize(ctx, l, o, shape{refs: 10, packages: 1})
	if err != nil {
		return err
	}
	m, err := measureSize(ctx, l, o, s)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("%d references, %d package revisions", s.refs, s.refs*s.packages+s.wide)
	rep.add(
		result{Row: "size", Work: work, Ratio: "start to first answer", Value: m.start, Unit: "s", Goal: 1, AtMost: true},
		result{Row: "size", Work: work, Ratio: "search name/*, p99", Value: m.prefix, Unit: "ms", Goal: 2, AtMost: true},
		result{Row: "size", Work: work, Ratio: "search *mid*, p99", Value: m.middle, Unit: "ms", Goal: 50, AtMost: true},
		result{Row: "size", Work: work, Ratio: "full list: memory above idle", Value: m.all, Unit: "MB", Goal: 64, AtMost: true},
		result{Row: "size", Work: fmt.Sprintf("package search over %d", s.wide), Ratio: "median", Value: m.package_, Unit: "ms", Goal: 50, AtMost: true},
		result{Row: "size", Work: fmt.Sprintf("package search over %d, list_only", s.wide), Ratio: "median", Value: m.list, Unit: "ms", Goal: 10, AtMost: true},
		result{Row: "size", Work: work, Ratio: "RSS idle", Value: m.idle, Unit: "MB", Goal: 150, AtMost: true},
		result{Row: "size", Work: work, Ratio: "RSS under load", Value: m.loaded, Unit: "MB", Goal: 300, AtMost: true},
		result{Row: "size", Work: work, Ratio: "upload time ÷ empty store", Value: m.upload / empty.upload, Goal: 1.5, AtMost: true},
		result{Row: "size", Work: work, Ratio: "fill and eviction time ÷ empty store", Value: m.evict / empty.evict, Goal: 1.5, AtMost: true},
	)
	return nil
}

// measureSize generates a store and measures a server over it.
func measureSize(ctx context.Context, l *lab, o options, s shape) (sized, error) {
	var m sized
	dir, err := l.folder("size")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	if err := generate(ctx, filepath.Join(dir, "data"), s); err != nil {
		return m, fmt.Errorf("generate: %w", err)
	}
	if err := l.makeUser(ctx, dir); err != nil {
		return m, err
	}
	begin := time.Now()
	p, err := l.ours(ctx, dir, nil)
	if err != nil {
		return m, err
	}
	defer p.Stop()
	search := func(q string) string { return p.URL() + "/v2/conans/search?q=" + url.QueryEscape(q) }
	if _, _, _, err := get(ctx, search(generatedName(0)+"/*")); err != nil {
		return m, err
	}
	m.start = time.Since(begin).Seconds()
	time.Sleep(2 * time.Second)
	now, _ := p.Memory()
	m.idle = float64(now) / 1e6
	n := 300
	if o.quick {
		n = 30
	}
	// Every question is another one, so that none is answered from what was rendered before; an
	// argument that no server knows makes it so. Such short answers need many, or their p99 is that
	// of a few moments in which the machine did something else.
	if m.prefix, err = percentile(ctx, 10*n, 0.99, func(i int) string { return fmt.Sprintf("%s&n=%d", search(generatedName((i*37)%s.refs)+"/*"), i) }); err != nil {
		return m, err
	}
	if m.middle, err = percentile(ctx, n/3, 0.99, func(i int) string { return search(fmt.Sprintf("*%d-mid*", i%100)) }); err != nil {
		return m, err
	}
	if err := m.wide(ctx, p, s); err != nil {
		return m, err
	}
	p.ResetPeak()
	before, _ := p.Memory()
	if _, _, _, err := get(ctx, search("*")); err != nil {
		return m, err
	}
	_, peak := p.Memory()
	m.all = float64(peak-before) / 1e6
	if m.upload, err = uploadSome(ctx, l, p); err != nil {
		return m, err
	}
	p.ResetPeak()
	rate, err := wrk(ctx, dir, p.URL(), question{path: "/v2/conans/" + generatedName(1) + "/1.0/_/_/latest"}, 32, time.Duration(min(4, n/10))*time.Second, false)
	if err != nil {
		return m, err
	}
	m.latest = rate.PerSecond
	if m.file, err = fileRate(ctx, l, p, time.Duration(min(3, n/30))*time.Second); err != nil {
		return m, err
	}
	_, peak = p.Memory()
	m.loaded = float64(peak) / 1e6
	p.Stop()
	m.evict, err = evictSome(ctx, l, dir)
	return m, err
}

// fileRate publishes a package of 1 MB and downloads it over 8 connections; it returns bytes/s.
func fileRate(ctx context.Context, l *lab, p *harness.Process, d time.Duration) (float64, error) {
	dir, err := l.folder("file")
	if err != nil {
		return 0, err
	}
	s, err := makeSample(dir, "file", "1.0", 1<<20, l.seed)
	if err != nil {
		return 0, err
	}
	u, err := newUploader(ctx, p.URL())
	if err != nil {
		return 0, err
	}
	if err := u.publish(ctx, s); err != nil {
		return 0, err
	}
	begin := time.Now()
	sent, err := pull(ctx, s.packageURL(p.URL())+"/files/"+archiveName, 8, d)
	return float64(sent) / time.Since(begin).Seconds(), err
}

// evictSome starts a server over the same store with an upstream and a cache for a few files, and
// returns the seconds that downloads of many take: from the second quarter of them on each is
// stored in place of another.
func evictSome(ctx context.Context, l *lab, dir string) (float64, error) {
	const files, size = 64, 256 << 10
	samples := make([]*sample, files)
	for i := range samples {
		var err error
		if samples[i], err = makeSample(dir, fmt.Sprintf("cold%02d", i), "1.0", size, l.seed+uint64(i)); err != nil {
			return 0, err
		}
	}
	from := newOrigin(0, samples...)
	defer from.Close()
	bounded := over(from.URL)
	bounded["cache"] = harness.Settings{"max_size": files / 4 * size, "min_free": 0}
	p, err := l.ours(ctx, dir, bounded)
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	return seconds(func() error {
		for _, s := range samples {
			if _, err := download(ctx, s.packageURL(p.URL())+"/files/"+archiveName); err != nil {
				return err
			}
		}
		return nil
	})
}

// wide asks package search of the recipe with many packages.
func (m *sized) wide(ctx context.Context, p *harness.Process, s shape) error {
	if s.wide == 0 {
		return nil
	}
	base := p.URL() + "/v2/conans/" + wideName + "/1.0/_/_"
	_, _, body, err := get(ctx, base+"/latest")
	if err != nil {
		return err
	}
	var latest struct{ Revision string }
	if err := json.Unmarshal(body, &latest); err != nil {
		return err
	}
	packages := base + "/revisions/" + latest.Revision + "/search"
	// An unknown argument is ignored by the server but makes each question another one.
	if m.package_, err = percentile(ctx, 9, 0.5, func(i int) string { return fmt.Sprintf("%s?list_only=False&n=%d", packages, i) }); err != nil {
		return err
	}
	m.list, err = percentile(ctx, 9, 0.5, func(i int) string { return fmt.Sprintf("%s?list_only=True&n=%d", packages, i) })
	return err
}

// percentile asks n questions one after the other and returns the p-quantile of the time in
// milliseconds.
func percentile(ctx context.Context, n int, p float64, question func(int) string) (float64, error) {
	times := make([]float64, n)
	for i := range times {
		begin := time.Now()
		status, _, body, err := get(ctx, question(i))
		if err != nil {
			return 0, err
		}
		if status != 200 {
			return 0, fmt.Errorf("%s: %d %s", question(i), status, strings.TrimSpace(string(body[:min(len(body), 200)])))
		}
		times[i] = time.Since(begin).Seconds() * 1000
	}
	sort.Float64s(times)
	return times[min(n-1, int(p*float64(n)))], nil
}

// uploadSome publishes a few small packages and returns the seconds.
func uploadSome(ctx context.Context, l *lab, p *harness.Process) (float64, error) {
	samples, err := l.smallSamples(40, 0)
	if err != nil {
		return 0, err
	}
	return publishAll(ctx, p, samples)
}
