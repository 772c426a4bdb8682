package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"conanproxy/internal/harness"
)

// client is a generation of the real Conan client.
type client struct {
	name        string
	environment string // of harness.Venv
}

// rowInstall measures the real clients: they install a graph of packages from a conan_server on the
// LAN, and through this server cold and warm, with a round trip between the server and its upstream
// (and between client and conan_server when straight).
func rowInstall(ctx context.Context, l *lab, o options, rep *report) error {
	packages, rounds := 30, o.times(3)
	delays := []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond}
	if o.quick {
		packages, delays = 4, delays[:2]
	}
	for _, c := range []client{{"Conan 2", harness.Conan2}, {"Conan 1.66", harness.Conan1}} {
		if err := clientRow(ctx, l, rep, c, packages, rounds, delays); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func clientRow(ctx context.Context, l *lab, rep *report, c client, packages, rounds int, delays []time.Duration) error {
	dir, err := l.folder("install")
	if err != nil {
		return err
	}
	server, err := l.conanServer(ctx, dir)
	if err != nil {
		return err
	}
	defer server.Stop()
	if err := c.publishGraph(ctx, l, server.URL(), packages); err != nil {
		return fmt.Errorf("publish the graph: %w", err)
	}
	runs := make([]installs, len(delays))
	for i, delay := range delays {
		relay, err := harness.NewDelayRelay(server.URL(), delay)
		if err != nil {
			return err
		}
		defer relay.Close()
		runs[i].upstream = relay.URL()
	}
	for range rounds {
		if err := c.round(ctx, l, packages, runs); err != nil {
			return err
		}
	}
	for i, r := range runs {
		work := fmt.Sprintf("%s, %d packages, %d ms round trip", c.name, packages, delays[i].Milliseconds())
		raw := map[string]float64{"straight s": r.straight.median(), "cold s": r.cold.median(), "warm s": r.warm.median()}
		rep.add(
			result{Row: "install", Work: work, Ratio: "requests upstream, cold", Value: r.askedCold},
			result{Row: "install", Work: work, Ratio: "requests upstream, warm", Value: r.askedWarm},
			result{Row: "install", Work: work, Ratio: "cold ÷ straight", Value: r.cold.median() / r.straight.median(), Goal: 1.15, AtMost: true, Spread: r.cold.spread(), Raw: raw},
		)
		if i == 0 {
			rep.add(result{Row: "install", Work: work, Ratio: "warm ÷ straight", Value: r.warm.median() / r.straight.median(), Goal: 0.9, AtMost: true, Spread: r.warm.spread()})
			continue
		}
		rep.add(result{Row: "install", Work: work, Ratio: "warm ÷ warm at 0 ms", Value: r.warm.median() / runs[0].warm.median(), Goal: 1.1, AtMost: true, Spread: r.warm.spread()})
	}
	return nil
}

// installs is what was measured with one round trip to upstream.
type installs struct {
	upstream             string
	straight, cold, warm series  // seconds
	askedCold, askedWarm float64 // requests upstream, in the last round
}

// round installs straight and cold with each round trip, and then warm with all of them in turn:
// what is compared with each other is measured at the same time.
func (c client) round(ctx context.Context, l *lab, packages int, runs []installs) error {
	servers := make([]*harness.Process, len(runs))
	for i := range runs {
		r := &runs[i]
		if err := c.timed(ctx, l, r.upstream, packages, &r.straight); err != nil {
			return err
		}
		folder, err := l.folder("install")
		if err != nil {
			return err
		}
		if servers[i], err = l.ours(ctx, folder, over(r.upstream)); err != nil {
			return err
		}
		defer servers[i].Stop()
		if err := c.timed(ctx, l, servers[i].URL(), packages, &r.cold); err != nil {
			return err
		}
		if r.askedCold, err = upstreamAnswers(ctx, servers[i].URL()); err != nil {
			return err
		}
	}
	for range 3 {
		for i, p := range servers {
			if err := c.timed(ctx, l, p.URL(), packages, &runs[i].warm); err != nil {
				return err
			}
		}
	}
	for i, p := range servers {
		all, err := upstreamAnswers(ctx, p.URL())
		if err != nil {
			return err
		}
		runs[i].askedWarm = all - runs[i].askedCold
	}
	return nil
}

// timed notes the seconds of one install.
func (c client) timed(ctx context.Context, l *lab, url string, packages int, to *series) error {
	t, err := c.install(ctx, l, url, packages)
	if err != nil {
		return err
	}
	*to = append(*to, t)
	return nil
}

// home makes a client with an empty cache and one remote.
func (c client) home(ctx context.Context, l *lab, url string) (*harness.Client, error) {
	dir, err := l.folder("client")
	if err != nil {
		return nil, err
	}
	made, err := harness.NewClient(ctx, l.root, c.environment, dir, url)
	if err != nil {
		return nil, err
	}
	made.As(benchUser, benchPassword)
	return made, nil
}

// runConan runs a command of a client.
func runConan(ctx context.Context, c *harness.Client, args ...string) error {
	if out, err := c.Run(ctx, args...); err != nil {
		return fmt.Errorf("conan %s: %w: %s", strings.Join(args, " "), err, harness.LastBytes(out, 800))
	}
	return nil
}

// publishGraph makes a chain and a fan of packages with an archive of some kilobytes each and
// uploads them.
func (c client) publishGraph(ctx context.Context, l *lab, url string, n int) error {
	home, err := c.home(ctx, l, url)
	if err != nil {
		return err
	}
	for i := range n {
		folder := filepath.Join(home.Work, fmt.Sprintf("p%d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "conanfile.py"), []byte(graphRecipe(i)), 0o644); err != nil {
			return err
		}
		create := []string{"create", folder}
		if !home.Two {
			create = append(create, fmt.Sprintf("pkg%02d/1.0@", i))
		}
		if err := runConan(ctx, home, create...); err != nil {
			return err
		}
	}
	return runConan(ctx, home, home.UploadArgs("pkg*", "r")...)
}

// graphRecipe is the recipe of package i: it requires the one before it, and the one half way down.
func graphRecipe(i int) string {
	var requires string
	for _, j := range []int{i - 1, i / 2} {
		if j >= 0 && j < i {
			requires += fmt.Sprintf("        self.requires(\"pkg%02d/1.0\")\n", j)
			if i/2 == i-1 {
				break
			}
		}
	}
	return fmt.Sprintf("import os\nfrom conan import ConanFile\n\n\nclass Pkg(ConanFile):\n    name = \"pkg%02d\"\n    version = \"1.0\"\n    settings = \"os\", \"arch\"\n\n"+
		"    def requirements(self):\n%s        pass\n\n    def package(self):\n        with open(os.path.join(self.package_folder, \"lib.bin\"), \"wb\") as f:\n            f.write(os.urandom(200000))\n", i, requires)
}

// install installs the last package of the graph into an empty cache and returns the seconds of the
// install alone.
func (c client) install(ctx context.Context, l *lab, url string, packages int) (float64, error) {
	home, err := c.home(ctx, l, url)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(filepath.Dir(home.Home))
	text := fmt.Sprintf("[requires]\npkg%02d/1.0\n", packages-1)
	if err := os.WriteFile(filepath.Join(home.Work, "conanfile.txt"), []byte(text), 0o644); err != nil {
		return 0, err
	}
	return seconds(func() error { return runConan(ctx, home, "install", ".") })
}

// upstreamAnswers is how many answers of upstream the server has counted.
func upstreamAnswers(ctx context.Context, base string) (total float64, err error) {
	_, _, body, err := get(ctx, base+"/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && strings.HasPrefix(name, "conanproxy_upstream_answers_total{") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	return total, nil
}
