package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"conanproxy/internal/harness"
)

// rowViews compares a view over three stores and two upstreams with one store that has the same:
// searches, the newest revision, and lists of packages, warm.
func rowViews(ctx context.Context, l *lab, o options, rep *report) error {
	const names = 50 // in each member
	dir, err := l.folder("views")
	if err != nil {
		return err
	}
	var outside []*harness.Process
	defer func() {
		for _, p := range outside {
			p.Stop()
		}
	}()
	settings := harness.Settings{"stores": []harness.Settings{{"name": "dev"}, {"name": "test"}, {"name": "release"}, {"name": "alone"}}}
	var upstreams []harness.Settings
	for _, name := range []string{"far", "farther"} {
		folder, err := l.folder("upstream")
		if err != nil {
			return err
		}
		p, err := l.ours(ctx, folder, nil)
		if err != nil {
			return err
		}
		outside = append(outside, p)
		upstreams = append(upstreams, harness.Upstream(name, p.URL(), harness.Settings{"fresh_for": "1h", "not_found_for": "1h"}))
	}
	settings["upstreams"] = upstreams
	settings["views"] = []harness.Settings{{"name": "team", "members": []string{"dev", "test", "release", "far", "farther"}}}
	p, err := l.ours(ctx, dir, settings)
	if err != nil {
		return err
	}
	defer p.Stop()
	shared, err := l.fillMembers(ctx, dir, names, []string{p.URL() + "/r/dev", p.URL() + "/r/test", p.URL() + "/r/release", outside[0].URL(), outside[1].URL()}, p.URL()+"/r/alone")
	if err != nil {
		return err
	}
	for _, w := range []struct{ name, path string }{
		{"search", "/v2/conans/search?q=lib*"},
		{"latest", "/v2/conans/" + shared.ref + "/latest"},
		{"list of packages", "/v2/conans/" + shared.ref + "/revisions/" + shared.rrev + "/search"},
	} {
		if err := viewAgainstStore(ctx, dir, o, rep, p.URL(), w.name, w.path); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// fillMembers publishes some packages in each member and all of them in another store; one recipe
// has a package in each.
func (l *lab) fillMembers(ctx context.Context, dir string, names int, members []string, all string) (*sample, error) {
	shared, err := makeSample(dir, "libshared", "1.0", 4<<10, l.seed)
	if err != nil {
		return nil, err
	}
	for i, url := range members {
		s, err := shared.forOS(fmt.Sprint("OS", i))
		if err != nil {
			return nil, err
		}
		list := []*sample{s}
		for n := range names {
			if s, err = makeSample(dir, fmt.Sprintf("lib%d-%03d", i, n), "1.0", 1<<10, l.seed); err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		for _, to := range []string{url, all} {
			u, err := newUploader(ctx, to)
			if err != nil {
				return nil, err
			}
			for _, s := range list {
				if err := u.publish(ctx, s); err != nil {
					return nil, err
				}
			}
		}
	}
	return shared, nil
}

// viewAgainstStore asks both in turn the same, which must be answered alike.
func viewAgainstStore(ctx context.Context, dir string, o options, rep *report, base, what, path string) error {
	view, store := base+"/r/team", base+"/r/alone"
	var sizes [2]int
	for i, url := range []string{view, store} {
		status, _, body, err := get(ctx, url+path)
		if err != nil || status != 200 {
			return fmt.Errorf("GET %s: %d, %v", url+path, status, err)
		}
		sizes[i] = len(body)
	}
	if what != "latest" && sizes[0] != sizes[1] { // times of publication differ
		return fmt.Errorf("the view answers %d bytes and the store %d", sizes[0], sizes[1])
	}
	rounds, duration := o.times(5), 3*time.Second
	if o.quick {
		duration = time.Second
	}
	var merged, alone series
	type side struct {
		url string
		to  *series
	}
	for round := range rounds {
		order := []side{{view, &merged}, {store, &alone}}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			m, err := wrk(ctx, dir, c.url, question{path: path}, 32, duration, false)
			if err != nil {
				return err
			}
			if m.Errors > 0 {
				return fmt.Errorf("%s: %d errors", c.url, m.Errors)
			}
			*c.to = append(*c.to, 1e6/m.PerSecond)
		}
	}
	rep.add(result{Row: "views", Work: what + ", 3 stores and 2 upstreams", Ratio: "time ÷ one store", Value: merged.median() / alone.median(), Goal: 1.2, AtMost: true,
		Spread: merged.spread(), Raw: map[string]float64{"view µs": merged.median(), "store µs": alone.median()}})
	return nil
}
