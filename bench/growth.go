package main

import (
	"context"
	"fmt"
	"math"
)

// rowGrowth measures the same questions at growing sizes. "No worse than logarithmic" is shown as
// the time at the largest size over the time at the smallest, divided by the ratio of the
// logarithms of the sizes.
func rowGrowth(ctx context.Context, l *lab, o options, rep *report) error {
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
		time func(sized) float64
		goal float64 // 0: none
	}{
		{"warm answer", func(m sized) float64 { return 1 / m.latest }, growth},
		{"warm file of 1 MB", func(m sized) float64 { return 1 / m.file }, growth},
		{"search name/*, p99", func(m sized) float64 { return m.prefix }, growth},
		{"search *mid*, p99", func(m sized) float64 { return m.middle }, 0}, // looks at every name
		{"package search over 500", func(m sized) float64 { return m.package_ }, growth},
		{"upload", func(m sized) float64 { return m.upload }, growth},
		{"fill and eviction", func(m sized) float64 { return m.evict }, growth},
	} {
		c, raw := curve{What: q.what, Sizes: sizes}, map[string]float64{}
		for i, m := range measured {
			c.Times = append(c.Times, q.time(m)/q.time(first))
			raw[fmt.Sprintf("at %d references", sizes[i])] = q.time(m)
		}
		rep.Growth = append(rep.Growth, c)
		rep.add(result{Row: "growth", Work: q.what, Ratio: fmt.Sprintf("time at %d references ÷ at %d", sizes[len(sizes)-1], sizes[0]), Value: q.time(last) / q.time(first), Goal: q.goal, AtMost: true, Raw: raw})
	}
	return nil
}
