package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"conanproxy/e2e"
	"conanproxy/internal/proc"
)

// client is a real Conan client.
type client struct {
	name    string
	program string
	two     bool
}

// row9: the real clients install a graph of packages from a conan_server on the LAN, and through this server cold and warm,
// with a round trip between the server and its upstream (and between client and conan_server when straight).
func row9(ctx context.Context, l *lab, o options, rep *report) error {
	packages, rounds := 30, o.times(3)
	delays := []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond}
	if o.quick {
		packages, delays = 4, delays[:2]
	}
	for _, c := range []client{{"Conan 2", e2e.Conan2, true}, {"Conan 1.66", e2e.Conan1, false}} {
		bin, err := e2e.Venv(ctx, l.root, c.program)
		if err != nil {
			return err
		}
		c.program = filepath.Join(bin, "conan")
		if err := clientRow(ctx, l, rep, c, packages, rounds, delays); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func clientRow(ctx context.Context, l *lab, rep *report, c client, packages, rounds int, delays []time.Duration) error {
	dir, err := l.folder("row9")
	if err != nil {
		return err
	}
	server, err := l.conanServer(ctx, dir)
	if err != nil {
		return err
	}
	defer server.Stop()
	if err := c.publishGraph(ctx, dir, server.URL, packages); err != nil {
		return fmt.Errorf("publish the graph: %w", err)
	}
	var straightAtZero, warmAtZero float64
	for _, delay := range delays {
		relay, err := newDelayRelay(server.URL, delay)
		if err != nil {
			return err
		}
		var straight, cold, warm, asked series
		for range rounds {
			t, err := c.install(ctx, l, relay.url(), packages)
			if err != nil {
				return err
			}
			straight = append(straight, t)
			folder, err := l.folder("row9")
			if err != nil {
				return err
			}
			p, err := l.ours(ctx, folder, upstreamOf(relay.url()), "")
			if err != nil {
				return err
			}
			for _, s := range []*series{&cold, &warm} {
				if t, err = c.install(ctx, l, p.URL, packages); err != nil {
					p.Stop()
					return err
				}
				*s = append(*s, t)
				n, err := upstreamAnswers(ctx, p.URL)
				if err != nil {
					p.Stop()
					return err
				}
				asked = append(asked, n)
			}
			p.Stop()
		}
		relay.Close()
		work := fmt.Sprintf("%s, %d packages, %d ms round trip", c.name, packages, delay.Milliseconds())
		n := len(asked)
		rep.add(
			result{Row: "9", Work: work, Ratio: "requests upstream, cold", Value: asked[n-2]},
			result{Row: "9", Work: work, Ratio: "requests upstream, warm", Value: asked[n-1] - asked[n-2]},
		)
		raw := map[string]float64{"straight s": straight.median(), "cold s": cold.median(), "warm s": warm.median()}
		rep.add(result{Row: "9", Work: work, Ratio: "cold ÷ straight", Value: cold.median() / straight.median(), Goal: 1.15, AtMost: true, Spread: cold.spread(), Raw: raw})
		if delay == 0 {
			straightAtZero, warmAtZero = straight.median(), warm.median()
			rep.add(result{Row: "9", Work: work, Ratio: "warm ÷ straight", Value: warm.median() / straightAtZero, Goal: 0.9, AtMost: true, Spread: warm.spread()})
			continue
		}
		rep.add(result{Row: "9", Work: work, Ratio: "warm ÷ warm at 0 ms", Value: warm.median() / warmAtZero, Goal: 1.1, AtMost: true, Spread: warm.spread()})
	}
	return nil
}

// env is the client's environment with an empty cache of its own.
func (c client) env(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "CONAN_HOME=" + filepath.Join(home, "c2"), "CONAN_USER_HOME=" + home,
		"CONAN_NON_INTERACTIVE=1", "CONAN_LOGIN_USERNAME=" + benchUser, "CONAN_PASSWORD=" + benchPassword, "NO_PROXY=*", "LC_ALL=C.UTF-8",
		"CONAN_REVISIONS_ENABLED=0"}
}

func (c client) conan(ctx context.Context, home, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env, cmd.Dir = c.env(home), dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("conan %s: %w: %s", strings.Join(args, " "), err, proc.LastBytes(string(out), 800))
	}
	return nil
}

// home makes a client's home with a fixed profile and one remote.
func (c client) home(ctx context.Context, dir, url string) (string, error) {
	home, err := os.MkdirTemp(dir, "home-")
	if err != nil {
		return "", err
	}
	profiles := filepath.Join(home, ".conan", "profiles")
	if c.two {
		profiles = filepath.Join(home, "c2", "profiles")
	}
	if err := os.MkdirAll(profiles, 0o755); err != nil {
		return "", err
	}
	profile := "[settings]\nos=Linux\narch=x86_64\ncompiler=gcc\ncompiler.version=12\ncompiler.libcxx=libstdc++11\nbuild_type=Release\n"
	if c.two {
		profile += "compiler.cppstd=gnu17\n"
	}
	if err := os.WriteFile(filepath.Join(profiles, "default"), []byte(profile), 0o644); err != nil {
		return "", err
	}
	if err := c.conan(ctx, home, home, "remote", "remove", "conancenter"); err != nil {
		return "", err
	}
	return home, c.conan(ctx, home, home, "remote", "add", "r", url)
}

// publishGraph makes a chain and a fan of packages with an archive of some kilobytes each and uploads them.
func (c client) publishGraph(ctx context.Context, dir, url string, n int) error {
	home, err := c.home(ctx, dir, url)
	if err != nil {
		return err
	}
	for i := range n {
		folder := filepath.Join(home, fmt.Sprintf("p%d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		var requires string
		for _, j := range []int{i - 1, i / 2} {
			if j >= 0 && j < i {
				requires += fmt.Sprintf("        self.requires(\"pkg%02d/1.0\")\n", j)
				if i/2 == i-1 {
					break
				}
			}
		}
		recipe := fmt.Sprintf("import os\nfrom conan import ConanFile\n\n\nclass Pkg(ConanFile):\n    name = \"pkg%02d\"\n    version = \"1.0\"\n    settings = \"os\", \"arch\"\n\n"+
			"    def requirements(self):\n%s        pass\n\n    def package(self):\n        with open(os.path.join(self.package_folder, \"lib.bin\"), \"wb\") as f:\n            f.write(os.urandom(200000))\n", i, requires)
		if err := os.WriteFile(filepath.Join(folder, "conanfile.py"), []byte(recipe), 0o644); err != nil {
			return err
		}
		create := []string{"create", "."}
		if !c.two {
			create = append(create, fmt.Sprintf("pkg%02d/1.0@", i))
		}
		if err := c.conan(ctx, home, folder, create...); err != nil {
			return err
		}
	}
	if c.two {
		return c.conan(ctx, home, home, "upload", "pkg*", "-r", "r", "-c")
	}
	return c.conan(ctx, home, home, "upload", "pkg*", "--all", "-r", "r", "-c")
}

// install installs the last package of the graph into an empty cache and returns the seconds of the install alone.
func (c client) install(ctx context.Context, l *lab, url string, packages int) (float64, error) {
	dir, err := l.folder("client")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	home, err := c.home(ctx, dir, url)
	if err != nil {
		return 0, err
	}
	text := fmt.Sprintf("[requires]\npkg%02d/1.0\n", packages-1)
	if err := os.WriteFile(filepath.Join(home, "conanfile.txt"), []byte(text), 0o644); err != nil {
		return 0, err
	}
	return seconds(func() error { return c.conan(ctx, home, home, "install", ".") })
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
