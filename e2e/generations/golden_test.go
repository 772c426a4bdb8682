package generations

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// update writes the golden files anew instead of comparing with them.
var update = flag.Bool("update", false, "write the golden call sequences")

// TestGolden writes down, for the usual commands of each client, the requests that reach the
// program and those that reach upstream. Every command is run by a client with an empty cache,
// first over a cold and then over a warm program: a warm one asks upstream nothing inside
// fresh_for.
func TestGolden(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	tests := []struct {
		name   string
		client func(testing.TB, string) *e2etest.Client
		kind   e2etest.Kind
		// reads are commands, each for a client of its own.
		reads [][]string
	}{
		{"conan1-v1", e2etest.NewConan1, e2etest.V1Server, conan1Reads},
		{"conan1-revisions", e2etest.NewConan1Revisions, e2etest.BothServer, append([][]string{{"search", ref, "-rev", "-r", "r"}}, conan1Reads...)},
		{"conan2.9", e2etest.NewConan29, e2etest.BothServer, conan2Reads},
		{"conan2", e2etest.NewConan2, e2etest.V2Server, conan2Reads},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := e2etest.NewWorld(t, tt.kind, harness.Settings{"up": harness.Settings{"fresh_for": "1h", "not_found_for": "1h"}})
			publisher := tt.client(t, w.Upstream.URL()).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Upload(ref)

			var out strings.Builder
			for _, args := range tt.reads {
				// A program of its own, so that each command shows what it costs cold.
				w.Upstream.Forget()
				proxy := e2etest.StartConanproxy(t, e2etest.WithUpstream(harness.Settings{"up": harness.Settings{"fresh_for": "1h", "not_found_for": "1h"}}, w.Upstream))
				front := e2etest.Record(t, proxy.URL(), e2etest.BothAPIs)
				forgetStart(t, w.Upstream)
				tt.client(t, front.URL()).Must(args...)
				w.Upstream.Settle() // what is asked ahead of the client may outlast it
				cold, coldUpstream := calls(front), calls(w.Upstream)
				sort.Strings(coldUpstream) // independent questions are asked at once
				front.Forget()
				w.Upstream.Forget()
				tt.client(t, front.URL()).Must(args...)
				if diff := cmp.Diff(cold, calls(front)); diff != "" {
					t.Errorf("%v: a warm client asks otherwise (-cold +warm):\n%s", args, diff)
				}
				if asked := w.Upstream.Calls(); len(asked) != 0 {
					t.Errorf("%v: warm, yet upstream was asked:\n%s", args, strings.Join(asked, "\n"))
				}
				proxy.Stop()
				front.Stop()
				section(&out, strings.Join(args, " "), cold, coldUpstream)
			}
			writes(t, &out, w, tt.client)
			compareGolden(t, tt.name, out.String())
		})
	}
}

// forgetStart waits until a proxy that started has pinged its upstream, and empties the list.
func forgetStart(t *testing.T, upstream *e2etest.Recorder) {
	t.Helper()
	e2etest.WaitFor(t, time.Minute, func() bool { return upstream.Count("/v1/ping") > 0 })
	upstream.Forget()
}

var conan1Reads = [][]string{
	{"install", "lib/1.0@demo/testing", "-r", "r"},
	{"install", "lib/[>=1.0]@demo/testing", "-r", "r"},
	{"install", "lib/1.0@demo/testing", "-r", "r", "--build"},
	{"download", "lib/1.0@demo/testing", "-r", "r"},
	{"search", "lib*", "-r", "r"},
	{"search", "lib/1.0@demo/testing", "-r", "r"},
	{"inspect", "lib/1.0@demo/testing", "-r", "r", "-a", "name"},
}

var conan2Reads = [][]string{
	{"install", "--requires=lib/1.0@demo/testing", "-r", "r"},
	{"install", "--requires=lib/[>=1.0]@demo/testing", "-r", "r"},
	{"install", "--requires=lib/1.0@demo/testing", "-r", "r", "--build=lib/*"},
	{"download", "lib/1.0@demo/testing", "-r", "r"},
	{"list", "lib*", "-r", "r"},
	{"list", "lib/1.0@demo/testing#*", "-r", "r"},
	{"list", "lib/1.0@demo/testing:*", "-r", "r"},
	{"list", "lib/1.0@demo/testing#*:*#*", "-r", "r"},
	{"graph", "info", "--requires=lib/1.0@demo/testing", "-r", "r"},
}

// writes adds the commands that publish to the local view and remove from it; upstream hears of
// none of them.
func writes(t *testing.T, out *strings.Builder, w *e2etest.World, newClient func(testing.TB, string) *e2etest.Client) {
	t.Helper()
	front := e2etest.Record(t, w.Proxy.URL(), e2etest.BothAPIs)
	c := newClient(t, front.URL()+"/local").As("demo", "demo")
	c.Create(e2etest.Recipe(t, "lib"), "ann/testing")
	const ref = "lib/1.0@ann/testing"
	if c.Two {
		c.Must("remote", "login", "r", "demo", "-p", "demo")
	} else {
		c.Must("user", "-p", "demo", "-r", "r", "demo")
	}
	w.Upstream.Forget()
	remove := []string{"remove", ref, "-r", "r"}
	if c.Two {
		remove = append(remove, "-c")
	} else {
		remove = append(remove, "-f")
	}
	for _, args := range [][]string{
		c.UploadArgs(ref, "r"),
		c.UploadArgs(ref, "r"),
		c.UploadArgs(ref, "r", "--force"),
		remove,
	} {
		front.Forget()
		c.Must(args...)
		section(out, strings.Join(args, " "), calls(front), nil)
	}
	if asked := w.Upstream.Calls(); len(asked) != 0 {
		t.Errorf("upstream heard of what goes to the local view:\n%s", strings.Join(asked, "\n"))
	}
}

// section writes one command with its requests.
func section(out *strings.Builder, title string, proxy, upstream []string) {
	out.WriteString("# conan " + title + "\n")
	for _, call := range proxy {
		out.WriteString("  " + call + "\n")
	}
	for _, call := range upstream {
		out.WriteString("  > " + call + "\n")
	}
	out.WriteString("\n")
}

var (
	packagePart  = regexp.MustCompile(`\b(packages|package)/[0-9a-f]{40}(/revisions)?(/[0-9a-f]{32}\b)?`)
	revisionPart = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
)

// calls returns a recorder's lines with ids replaced by what they are; downloads of files that
// stand side by side are sorted, since clients fetch them in parallel.
func calls(r *e2etest.Recorder) []string {
	out := r.Calls()
	for i, call := range out {
		call = packagePart.ReplaceAllStringFunc(call, func(part string) string {
			part = regexp.MustCompile(`[0-9a-f]{40}`).ReplaceAllString(part, "PID")
			return revisionPart.ReplaceAllString(part, "PREV")
		})
		out[i] = revisionPart.ReplaceAllString(call, "RREV")
	}
	for from := 0; from < len(out); from++ {
		to := from
		for to < len(out) && isDownload(out[to]) {
			to++
		}
		sort.Strings(out[from:to])
		from = to
	}
	return out
}

func isDownload(call string) bool {
	return strings.HasPrefix(call, "GET ") && strings.Contains(call, "/files/")
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(e2etest.Root(t), "e2e", "testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e2etest.Lines(string(want)), e2etest.Lines(got)); diff != "" {
		t.Errorf("the requests differ from %s (-want +got); with -update they are written anew:\n%s", path, diff)
	}
}
