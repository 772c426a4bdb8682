package main

import (
	"context"
	"fmt"
	"sync"

	"conanproxy/internal/harness"
)

// rowHerd measures many clients ask for one cold file at once over a slow line.
func rowHerd(ctx context.Context, l *lab, o options, rep *report) error {
	size, rate, clients := int64(50<<20), int64(5<<20), 64
	if o.quick {
		size, rate, clients = 4<<20, 4<<20, 16
	}
	dir, err := l.folder("herd")
	if err != nil {
		return err
	}
	s, err := makeSample(dir, "herd", "1.0", size, l.seed)
	if err != nil {
		return err
	}
	from := newOrigin(rate, s)
	defer from.Close()
	path := s.packageURL("") + "/files/" + archiveName
	alone, err := herd(ctx, from.URL+path, 1)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("%d clients, %d MB at %d MB/s", clients, size>>20, rate>>20)
	for _, name := range []string{"conanproxy", "nginx"} {
		folder, err := l.folder("herd")
		if err != nil {
			return err
		}
		var p *harness.Process
		if name == "nginx" {
			p, err = l.nginx(ctx, folder, from.URL)
		} else {
			p, err = l.ours(ctx, folder, over(from.URL))
		}
		if err != nil {
			return err
		}
		from.sent.Store(0)
		slowest, err := herd(ctx, p.URL()+path, clients)
		p.Stop()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		slow := result{Row: "herd", Work: work, Ratio: "slowest client ÷ one alone", Value: slowest / alone, Goal: 1.1, AtMost: true}
		bytes := result{Row: "herd", Work: work, Ratio: "upstream bytes ÷ size", Value: float64(from.sent.Load()) / float64(s.size), Goal: 1.02, AtMost: true}
		if name == "nginx" {
			slow.Ratio, slow.Goal = "nginx: "+slow.Ratio, 0
			bytes.Ratio, bytes.Goal = "nginx: "+bytes.Ratio, 0
		}
		rep.add(slow, bytes)
	}
	return nil
}

// herd downloads with n clients at once and returns the slowest one's seconds.
func herd(ctx context.Context, url string, n int) (float64, error) {
	var wg sync.WaitGroup
	seconds, errs := make([]float64, n), make([]error, n)
	for i := range n {
		wg.Go(func() {
			t, err := download(ctx, url)
			seconds[i], errs[i] = t.total.Seconds(), err
		})
	}
	wg.Wait()
	slowest := 0.0
	for i := range n {
		if errs[i] != nil {
			return 0, errs[i]
		}
		slowest = max(slowest, seconds[i])
	}
	return slowest, nil
}
