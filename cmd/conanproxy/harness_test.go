package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"

	"conanproxy/internal/config"
)

// quiet are loggers that log nothing.
func quiet() *loggers {
	return &loggers{app: zap.NewNop(), access: zap.NewNop(), level: zap.NewAtomicLevel(), flush: func() {}}
}

// testConfig is the default configuration on a data directory of its own, with one upstream for
// each URL: a, b, …
func testConfig(t *testing.T, urls ...string) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir = t.TempDir()
	cfg.Cache.MinFree, cfg.Cache.Memory = 0, 8<<20
	up := cfg.Upstreams[0]
	up.Clients = "any"
	cfg.Upstreams = nil
	for i, url := range urls {
		up.Name, up.URL = string(rune('a'+i)), url
		cfg.Upstreams = append(cfg.Upstreams, up)
	}
	return cfg
}

// testServer is a server of that configuration, without work in the background.
func testServer(t *testing.T, cfg *config.Config) *server {
	t.Helper()
	s, err := newServer(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// metric reads the value of one metric whose labels have the values, in their order.
func metric(t *testing.T, s *server, name string, values ...string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			if family.GetName() == name && slices.Equal(labels, values) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() // a metric has one of them
			}
		}
	}
	t.Fatalf("there is no metric %s%q", name, values)
	return 0
}

// contentOf reads the one file that matches a pattern.
func contentOf(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: %q, %v", pattern, paths, err)
	}
	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// writeFile writes a file of mode 0600.
func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
