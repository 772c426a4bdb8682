package main

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// rowMemory measures memory under many concurrent downloads, and uploads.
func rowMemory(ctx context.Context, l *lab, o options, rep *report) error {
	downloads, size := 1000, int64(20<<20)
	uploads, large := 100, int64(100<<20)
	if o.quick {
		downloads, size, uploads, large = 100, 2<<20, 10, 4<<20
	}
	dir, err := l.folder("memory")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := makeSample(dir, "wanted", "1.0", size, l.seed)
	if err != nil {
		return err
	}
	up, err := makeSample(dir, "large", "1.0", large, l.seed+1)
	if err != nil {
		return err
	}
	p, err := l.ours(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer p.Stop()
	u, err := newUploader(ctx, p.URL())
	if err != nil {
		return err
	}
	if err := u.publish(ctx, s); err != nil {
		return err
	}
	p.ResetPeak()
	if _, err := herd(ctx, s.packageURL(p.URL())+"/files/"+archiveName, downloads); err != nil {
		return err
	}
	_, peak := p.Memory()
	rep.add(result{Row: "memory", Work: fmt.Sprintf("%d downloads of %d MB at once", downloads, size>>20), Ratio: "peak RSS", Value: float64(peak) / 1e6, Unit: "MB", Goal: 200, AtMost: true})

	p.ResetPeak()
	if err := uploadTogether(ctx, u, up, uploads); err != nil {
		return err
	}
	_, peak = p.Memory()
	rep.add(result{Row: "memory", Work: fmt.Sprintf("%d uploads of %d MB at once", uploads, large>>20), Ratio: "peak RSS", Value: float64(peak) / 1e6, Unit: "MB", Goal: 200, AtMost: true})
	return nil
}

// uploadTogether sends one archive under many package ids at once; the sets are never completed.
func uploadTogether(ctx context.Context, u *uploader, s *sample, n int) error {
	if err := u.recipe(ctx, s); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			f, err := os.Open(s.archive)
			if err != nil {
				errs[i] = err
				return
			}
			defer f.Close()
			url := fmt.Sprintf("%s/packages/%040x/revisions/%032x/files/%s", s.recipeURL(u.base), i+1, i+1, archiveName)
			errs[i] = u.put(ctx, url, f, s.size)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
