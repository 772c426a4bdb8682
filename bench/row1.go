package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"conanproxy/internal/proc"
)

// work is one kind of small answer: its path on a server, and whether 404 is the right answer.
type work struct {
	name     string
	path     string
	notFound bool
}

func smallWork(s *sample) []work {
	v1, v2 := "/v1/conans/"+s.ref, "/v2/conans/"+s.ref
	return []work{
		{"ping", "/v1/ping", false},
		{"v1 snapshot", v1, false},
		{"v1 download_urls", v1 + "/download_urls", false},
		{"v2 latest", v2 + "/latest", false},
		{"v2 revisions", v2 + "/revisions", false},
		{"v2 files", v2 + "/revisions/" + s.rrev + "/files", false},
		{"404 of a known-missing binary", v2 + "/revisions/" + s.rrev + "/packages/" + strings.Repeat("0", 40) + "/latest", true},
		{"conanmanifest.txt", v2 + "/revisions/" + s.rrev + "/files/conanmanifest.txt", false},
	}
}

// row1: small warm answers over 32 keep-alive connections, the access log and metrics on for all contestants.
func row1(ctx context.Context, l *lab, o options, rep *report) error {
	dir, err := l.folder("row1")
	if err != nil {
		return err
	}
	s, err := makeSample(dir, "zlib", "1.3.1", 100<<10, l.seed)
	if err != nil {
		return err
	}
	server, err := l.conanServer(ctx, dir)
	if err != nil {
		return err
	}
	defer server.Stop()
	u, err := newUploader(ctx, server.URL)
	if err != nil {
		return err
	}
	if err := u.publish(ctx, s); err != nil {
		return err
	}
	ours, err := l.ours(ctx, dir, upstreamOf(server.URL), "")
	if err != nil {
		return err
	}
	defer ours.Stop()
	works := smallWork(s)
	answers, err := l.warmAnswers(ctx, dir, ours.URL, works)
	if err != nil {
		return err
	}
	bare, err := l.echo(ctx, dir, answers)
	if err != nil {
		return err
	}
	defer bare.Stop()
	cached, err := l.nginx(ctx, dir, server.URL, "")
	if err != nil {
		return err
	}
	defer cached.Stop()
	for _, w := range works { // warm nginx
		if _, _, _, err := get(ctx, cached.URL+w.path); err != nil {
			return err
		}
	}
	return measureSmall(ctx, o, rep, "1", works, []*proc.Process{ours, bare, cached, server})
}

// warmAnswers asks each path twice and writes what came as the constants of the bare handler.
func (l *lab) warmAnswers(ctx context.Context, dir, base string, works []work) (string, error) {
	answers := map[string]answer{}
	for _, w := range works {
		var a answer
		for range 2 {
			status, header, body, err := get(ctx, base+w.path)
			if err != nil {
				return "", err
			}
			a = answer{Status: status, Type: header.Get("Content-Type"), Body: body}
		}
		want := http.StatusOK
		if w.notFound {
			want = http.StatusNotFound
		}
		if a.Status != want {
			return "", fmt.Errorf("%s: status %d: %s", w.path, a.Status, a.Body)
		}
		answers[w.path] = a
	}
	file := filepath.Join(dir, "answers.json")
	b, err := json.Marshal(answers)
	if err != nil {
		return "", err
	}
	return file, os.WriteFile(file, b, 0o600)
}

// measureSmall interleaves the contestants (ours first, then bare, nginx, conan_server) round by round.
func measureSmall(ctx context.Context, o options, rep *report, id string, works []work, contestants []*proc.Process) error {
	rounds, duration := o.times(5), 3*time.Second
	if o.quick {
		duration = time.Second
	}
	for _, w := range works {
		rate := make([]series, len(contestants))
		p99 := make([]series, len(contestants))
		for range rounds {
			for i, c := range contestants {
				if o.quick && i == 3 && w.name != "ping" {
					continue
				}
				m, err := wrk(ctx, c.URL+w.path, 32, duration, w.notFound)
				if err != nil {
					return err
				}
				if m.Errors > 0 && i < 3 {
					return fmt.Errorf("%s at %s: %d errors", w.name, c.Name, m.Errors)
				}
				rate[i] = append(rate[i], m.PerSecond)
				p99[i] = append(p99[i], m.P99.Seconds()*1000)
			}
		}
		raw := map[string]float64{}
		for i, c := range contestants {
			if len(rate[i]) > 0 {
				raw[c.Name+" requests/s"] = rate[i].median()
				raw[c.Name+" p99 ms"] = p99[i].median()
			}
		}
		own := rate[0]
		rep.add(
			result{Row: id, Work: w.name, Ratio: "requests/s ÷ bare echo", Value: own.median() / rate[1].median(), Goal: 0.95, Spread: own.spread(), Raw: raw},
			result{Row: id, Work: w.name, Ratio: "requests/s ÷ nginx proxy_cache", Value: own.median() / rate[2].median(), Goal: 0.8, Spread: own.spread()},
			result{Row: id, Work: w.name, Ratio: "p99 ÷ nginx", Value: p99[0].median() / p99[2].median(), Goal: 2, AtMost: true, Spread: p99[0].spread()},
			result{Row: id, Work: w.name, Ratio: "bare echo: p99 ÷ nginx", Value: p99[1].median() / p99[2].median()},
		)
		if len(rate[3]) > 0 {
			rep.add(result{Row: id, Work: w.name, Ratio: "requests/s ÷ conan_server", Value: own.median() / rate[3].median(), Goal: 20, Spread: own.spread()})
		}
	}
	return nil
}
