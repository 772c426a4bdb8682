package main

import (
	"context"
	"fmt"
	"math"
)

// row7: the same questions at growing sizes. "No worse than logarithmic" is shown as the time at the largest size over
// the time at the smallest, divided by the ratio of the logarithms of the sizes.
func row7(ctx context.Context, l *lab, o options, rep *report) error {
	sizes := []int{1000, 10_000, 100_000}
	if o.quick {
		sizes = []int{200, 2000}
	}
	measured := make([]sized, len(sizes))
	for i, n := range sizes {
		m, err := measureSize(ctx, l, o, shape{refs: n, packages: 10, wide: 500})
		if err != nil {
			return err
		}
		measured[i] = m
	}
	first, last := measured[0], measured[len(measured)-1]
	growth := math.Log(float64(sizes[len(sizes)-1])) / math.Log(float64(sizes[0]))
	for _, q := range []struct {
		what string
		a, b float64
		goal float64
	}{
		{"time of a warm answer", 1 / first.latest, 1 / last.latest, growth},
		{"search name/*", first.prefix, last.prefix, growth},
		{"package search over 500", first.package_, last.package_, growth},
		{"upload time", first.upload, last.upload, growth},
		{"fill and eviction time", first.evict, last.evict, growth},
	} {
		raw := map[string]float64{}
		for i, m := range measured {
			raw[fmt.Sprintf("%d refs: search ms", sizes[i])] = m.prefix
			raw[fmt.Sprintf("%d refs: warm requests/s", sizes[i])] = m.latest
			raw[fmt.Sprintf("%d refs: upload s", sizes[i])] = m.upload
			raw[fmt.Sprintf("%d refs: start s", sizes[i])] = m.start
		}
		rep.add(result{Row: "7", Work: q.what, Ratio: fmt.Sprintf("at %d references ÷ at %d", sizes[len(sizes)-1], sizes[0]), Value: q.b / q.a, Goal: q.goal, AtMost: true, Raw: raw})
	}
	for _, q := range []struct {
		what string
		of   func(sized) float64
	}{
		{"warm answer", func(m sized) float64 { return 1 / m.latest }},
		{"search name/*", func(m sized) float64 { return m.prefix }},
		{"search *mid*", func(m sized) float64 { return m.middle }},
		{"package search over 500", func(m sized) float64 { return m.package_ }},
		{"upload", func(m sized) float64 { return m.upload }},
		{"fill and eviction", func(m sized) float64 { return m.evict }},
	} {
		c := curve{What: q.what, Sizes: sizes}
		for _, m := range measured {
			c.Times = append(c.Times, q.of(m)/q.of(first))
		}
		rep.Growth = append(rep.Growth, c)
	}
	return nil
}
