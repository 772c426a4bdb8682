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

	"conanproxy/internal/harness"
)

// work is one kind of small answer. path is where a server has it. conan1 says that Conan 1.66 asks
// for it, and not Conan 2. notFound says that 404 is the right status.
type work struct {
	name     string
	path     string
	conan1   bool
	notFound bool
}

func smallWork(s *sample) []work {
	v1, v2 := "/v1/conans/"+s.ref, "/v2/conans/"+s.ref
	missing := v2 + "/revisions/" + s.rrev + "/packages/" + strings.Repeat("0", 40) + "/latest"
	return []work{
		{name: "ping", path: "/v1/ping"},
		{name: "v1 snapshot", path: v1, conan1: true},
		{name: "v1 download_urls", path: v1 + "/download_urls", conan1: true},
		{name: "v2 latest", path: v2 + "/latest"},
		{name: "v2 revisions", path: v2 + "/revisions"},
		{name: "v2 files", path: v2 + "/revisions/" + s.rrev + "/files"},
		{name: "404 of a known-missing binary", path: missing, notFound: true},
		{name: "conanmanifest.txt", path: v2 + "/revisions/" + s.rrev + "/files/conanmanifest.txt"},
	}
}

// contestant is one way to ask one server.
type contestant struct {
	name   string
	url    string
	tokens []string
	slow   bool // measured once, and for ping only in a smoke test; its errors are its own
}

// The contestants, by their place in the list.
const (
	own = iota
	ownToken
	ownFront
	bare
	bareFront
	nginxCache
	conanServer
)

// fleet is how many tokens are sent in turn.
const fleet = 16

// rowAnswers measures small warm answers. 32 keep-alive connections send the requests of real
// clients. conanproxy, nginx and the bare handler write an access log; conanproxy and the bare
// handler also count requests.
func rowAnswers(ctx context.Context, l *lab, o options, rep *report) error {
	dir, err := l.folder("answers")
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
	u, err := newUploader(ctx, server.URL())
	if err != nil {
		return err
	}
	if err := u.publish(ctx, s); err != nil {
		return err
	}
	works := smallWork(s)
	contestants, stop, err := l.contestants(ctx, dir, server.URL(), works)
	defer stop()
	if err != nil {
		return err
	}
	for _, w := range works {
		if err := measureAnswers(ctx, dir, o, rep, w, contestants); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// contestants starts every contestant over the conan_server at url, warm. stop ends them, after an
// error too.
func (l *lab) contestants(ctx context.Context, dir, url string, works []work) (list []contestant, stop func(), err error) {
	var started []*harness.Process
	stop = func() {
		for _, p := range started {
			p.Stop()
		}
	}
	list = make([]contestant, conanServer+1)
	list[conanServer] = contestant{name: "conan_server", url: url, slow: true}
	// start notes a server that was started, as a contestant below a path.
	start := func(i int, name, path string) func(*harness.Process, error) {
		return func(p *harness.Process, failed error) {
			if failed != nil {
				err = failed
				return
			}
			started = append(started, p)
			list[i] = contestant{name: name, url: p.URL() + path}
		}
	}
	settings := over(url)
	settings["base_path"], settings["trusted_proxies"] = frontPrefix, []string{"127.0.0.1/32"}
	if start(own, "conanproxy", "")(l.ours(ctx, dir, settings)); err != nil {
		return nil, stop, err
	}
	answers, err := l.warmAnswers(ctx, dir, list[own].url, works)
	if err != nil {
		return nil, stop, err
	}
	if start(bare, "bare handler", "")(l.echo(ctx, dir, answers)); err != nil {
		return nil, stop, err
	}
	if start(ownFront, "conanproxy behind nginx", frontPrefix)(l.front(ctx, list[own].url)); err != nil {
		return nil, stop, err
	}
	if start(bareFront, "bare handler behind nginx", frontPrefix)(l.front(ctx, list[bare].url)); err != nil {
		return nil, stop, err
	}
	if start(nginxCache, "nginx proxy_cache", "")(l.nginx(ctx, dir, url)); err != nil {
		return nil, stop, err
	}
	list[ownToken] = contestant{name: "conanproxy with tokens", url: list[own].url}
	for range fleet {
		u, err := newUploader(ctx, list[own].url)
		if err != nil {
			return nil, stop, err
		}
		list[ownToken].tokens = append(list[ownToken].tokens, u.token)
	}
	return list, stop, warm(ctx, list, works)
}

// warm asks each contestant everything once.
func warm(ctx context.Context, list []contestant, works []work) error {
	for _, c := range list {
		for _, w := range works {
			if _, _, _, err := get(ctx, c.url+w.path); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// warmAnswers asks the server at base for each path twice, with and without frontPrefix. It writes
// the second answers to a file, which the bare handler serves, and returns the path of that file.
func (l *lab) warmAnswers(ctx context.Context, dir, base string, works []work) (string, error) {
	answers := map[string]answer{}
	for _, w := range works {
		for _, path := range []string{w.path, frontPrefix + w.path} {
			var a answer
			for range 2 {
				status, header, body, err := get(ctx, base+path)
				if err != nil {
					return "", err
				}
				for _, own := range []string{"Date", "Content-Length", "Connection"} { // net/http's own
					header.Del(own)
				}
				a = answer{Status: status, Header: header, Body: body}
			}
			want := http.StatusOK
			if w.notFound {
				want = http.StatusNotFound
			}
			if a.Status != want {
				return "", fmt.Errorf("%s: status %d: %s", path, a.Status, a.Body)
			}
			answers[path] = a
		}
	}
	file := filepath.Join(dir, "answers.json")
	b, err := json.Marshal(answers)
	if err != nil {
		return "", err
	}
	return file, os.WriteFile(file, b, 0o600)
}

// measureAnswers loads the contestants in turn, round by round, with one kind of work.
func measureAnswers(ctx context.Context, dir string, o options, rep *report, w work, contestants []contestant) error {
	rounds, duration := o.times(5), 3*time.Second
	if o.quick {
		duration = time.Second
	}
	rate, p99 := make([]series, len(contestants)), make([]series, len(contestants))
	for round := range rounds {
		for i, c := range contestants {
			if c.slow && (round > 0 || o.quick && w.name != "ping") {
				continue
			}
			m, err := wrk(ctx, dir, c.url, question{path: w.path, conan1: w.conan1, tokens: c.tokens}, 32, duration, w.notFound)
			if err != nil {
				return err
			}
			if m.Errors > 0 && !c.slow {
				return fmt.Errorf("%s: %d errors", c.name, m.Errors)
			}
			rate[i] = append(rate[i], m.PerSecond)
			p99[i] = append(p99[i], m.P99.Seconds()*1000)
		}
	}
	raw := map[string]float64{}
	for i, c := range contestants {
		if len(rate[i]) > 0 {
			raw[c.name+" requests/s"] = rate[i].median()
			raw[c.name+" p99 ms"] = p99[i].median()
		}
	}
	ratio := func(what string, i, j int, goal float64) {
		rep.add(result{Row: "answers", Work: w.name, Ratio: what, Value: rate[i].median() / rate[j].median(), Goal: goal, Spread: rate[i].spread(), Raw: raw})
		raw = nil // with the first line only
	}
	ratio("requests/s ÷ bare handler", own, bare, 0.85)
	rep.add(result{Row: "answers", Work: w.name, Ratio: "p99 ÷ bare handler", Value: p99[own].median() / p99[bare].median(), Goal: 1.5, AtMost: true, Spread: p99[own].spread()})
	ratio("requests/s ÷ nginx proxy_cache", own, nginxCache, 0.75)
	ratio("with a token: requests/s ÷ anonymous", ownToken, own, 0.85)
	ratio("behind nginx: requests/s ÷ bare handler behind nginx", ownFront, bareFront, 0.85)
	if len(rate[conanServer]) > 0 {
		ratio("requests/s ÷ conan_server", own, conanServer, 20)
	}
	return nil
}
