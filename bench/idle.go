package main

import (
	"context"
	"os"
	"time"

	"conanproxy/internal/harness"
)

// rowIdle measures what it costs when nothing happens.
func rowIdle(ctx context.Context, l *lab, o options, rep *report) error {
	stat, err := os.Stat(l.binary)
	if err != nil {
		return err
	}
	rep.add(result{Row: "idle", Work: "idle", Ratio: "binary size", Value: float64(stat.Size()) / 1e6, Unit: "MB", Goal: 40, AtMost: true})
	rounds := o.times(5)
	var begin, rss series
	for range rounds {
		dir, err := l.folder("idle")
		if err != nil {
			return err
		}
		// The user is made before the clock starts: bcrypt is slow on purpose.
		if err := l.makeUser(ctx, dir); err != nil {
			return err
		}
		var p *harness.Process
		t, err := seconds(func() error { p, err = l.ours(ctx, dir, nil); return err })
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		now, _ := p.Memory()
		p.Stop()
		begin, rss = append(begin, t*1000), append(rss, float64(now)/1e6)
	}
	rep.add(
		result{Row: "idle", Work: "idle", Ratio: "start to first answer, new data directory", Value: begin.median(), Unit: "ms", Goal: 150, AtMost: true, Spread: begin.spread()},
		result{Row: "idle", Work: "idle", Ratio: "RSS", Value: rss.median(), Unit: "MB", Goal: 40, AtMost: true, Spread: rss.spread()},
	)
	return nil
}
