package main

import (
	"context"
	"fmt"
	"time"

	"conanproxy/internal/harness"
)

// rowCold measures one cold file, one client, straight from upstream, through this server, through
// nginx.
func rowCold(ctx context.Context, l *lab, o options, rep *report) error {
	size, rate, rounds := int64(200<<20), int64(30<<20), o.times(3)
	if o.quick {
		size, rate = 10<<20, 20<<20
	}
	dir, err := l.folder("cold")
	if err != nil {
		return err
	}
	s, err := makeSample(dir, "big", "1.0", size, l.seed)
	if err != nil {
		return err
	}
	limited, err := coldFile(ctx, l, s, rate, rounds)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("%d MB, upstream at %d MB/s", size>>20, rate>>20)
	rep.add(
		result{Row: "cold", Work: work, Ratio: "total ÷ straight", Value: limited.total[1].median() / limited.total[0].median(), Goal: 1.05, AtMost: true, Spread: limited.total[1].spread()},
		result{Row: "cold", Work: work, Ratio: "first byte − straight", Value: (limited.first[1].median() - limited.first[0].median()) * 1000, Unit: "ms", Goal: 5, AtMost: true},
		result{Row: "cold", Work: work, Ratio: "nginx: total ÷ straight", Value: limited.total[2].median() / limited.total[0].median()},
	)
	free, err := coldFile(ctx, l, s, 0, rounds)
	if err != nil {
		return err
	}
	rep.add(
		result{Row: "cold", Work: fmt.Sprintf("%d MB, no limit", size>>20), Ratio: "CPU seconds ÷ nginx", Value: free.cpu[1].median() / free.cpu[2].median(), Raw: map[string]float64{"conanproxy CPU s": free.cpu[1].median(), "nginx CPU s": free.cpu[2].median()}},
		result{Row: "cold", Work: fmt.Sprintf("%d MB, no limit", size>>20), Ratio: "total ÷ straight", Value: free.total[1].median() / free.total[0].median(), Spread: free.total[1].spread()},
	)
	return nil
}

// cold holds the series of straight, ours and nginx.
type cold struct{ total, first, cpu [3]series }

func coldFile(ctx context.Context, l *lab, s *sample, rate int64, rounds int) (cold, error) {
	var c cold
	from := newOrigin(rate, s)
	defer from.Close()
	path := s.packageURL("") + "/files/" + archiveName
	for range rounds {
		t, err := download(ctx, from.URL+path)
		if err != nil {
			return c, err
		}
		c.add(0, t, 0)
		for i, begin := range []func(context.Context, string) (*harness.Process, error){
			func(ctx context.Context, dir string) (*harness.Process, error) {
				return l.ours(ctx, dir, over(from.URL))
			},
			func(ctx context.Context, dir string) (*harness.Process, error) { return l.nginx(ctx, dir, from.URL) },
		} {
			if err := c.measure(ctx, l, i+1, begin, s, path); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// measure starts a contestant with an empty cache, asks what a client asks before the file, and
// then the file.
func (c *cold) measure(ctx context.Context, l *lab, i int, begin func(context.Context, string) (*harness.Process, error), s *sample, path string) error {
	dir, err := l.folder("cold")
	if err != nil {
		return err
	}
	p, err := begin(ctx, dir)
	if err != nil {
		return err
	}
	defer p.Stop()
	for _, before := range []string{s.recipeURL("") + "/packages/" + s.pid + "/latest", s.packageURL("") + "/files", s.packageURL("") + "/files/conanmanifest.txt"} {
		if _, _, _, err := get(ctx, p.URL()+before); err != nil {
			return err
		}
	}
	cpu := p.CPUSeconds()
	t, err := download(ctx, p.URL()+path)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	time.Sleep(200 * time.Millisecond) // what is done after the last byte counts too
	c.add(i, t, p.CPUSeconds()-cpu)
	return nil
}

func (c *cold) add(i int, t transfer, cpu float64) {
	c.total[i] = append(c.total[i], t.total.Seconds())
	c.first[i] = append(c.first[i], t.firstByte.Seconds())
	c.cpu[i] = append(c.cpu[i], cpu)
}
