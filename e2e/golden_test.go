package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update writes the golden files anew instead of comparing with them.
var update = flag.Bool("update", false, "write the golden call sequences")

// TestGolden writes down, for the usual commands of each client, the requests that reach the program and those that
// reach upstream. Every command is run by a client with an empty cache, first over a cold and then over a warm
// program: a warm one asks upstream nothing inside fresh_for.
func TestGolden(t *testing.T) {
	t.Parallel()
	const ref = "lib/1.0@demo/testing"
	tests := []struct {
		name   string
		client func(testing.TB, string) *client
		kind   kind
		// reads are commands, each for a client of its own.
		reads [][]string
	}{
		{"conan1-v1", newConan1, v1Server, conan1Reads},
		{"conan1-revisions", newConan1Revisions, bothServer, append([][]string{{"search", ref, "-rev", "-r", "r"}}, conan1Reads...)},
		{"conan2.9", newConan29, bothServer, conan2Reads},
		{"conan2", newConan2, v2Server, conan2Reads},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.kind, settings{"up": settings{"fresh_for": "1h", "not_found_for": "1h"}})
			publisher := tt.client(t, w.upstream.url()).as("demo", "demo")
			publisher.create(recipe(t, "lib"), "demo/testing")
			publisher.upload(ref)

			var out strings.Builder
			for _, args := range tt.reads {
				// A program of its own, so that each command shows what it costs cold.
				proxy := startConanproxy(t, withUpstream(settings{"up": settings{"fresh_for": "1h", "not_found_for": "1h"}}, w.upstream))
				front := record(t, proxy.url(), bothAPIs)
				w.upstream.forget()
				tt.client(t, front.url()).must(args...)
				w.upstream.settle() // what is asked ahead of the client may outlast it
				cold, coldUpstream := calls(front), calls(w.upstream)
				sort.Strings(coldUpstream) // independent questions are asked at once
				front.forget()
				w.upstream.forget()
				tt.client(t, front.url()).must(args...)
				if diff := cmp.Diff(cold, calls(front)); diff != "" {
					t.Errorf("%v: a warm client asks otherwise (-cold +warm):\n%s", args, diff)
				}
				if asked := w.upstream.calls(); len(asked) != 0 {
					t.Errorf("%v: warm, yet upstream was asked:\n%s", args, strings.Join(asked, "\n"))
				}
				proxy.stop()
				front.stop()
				section(&out, strings.Join(args, " "), cold, coldUpstream)
			}
			writes(t, &out, w, tt.client)
			compareGolden(t, tt.name, out.String())
		})
	}
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

// writes adds the commands that publish to the local view and remove from it; upstream hears of none of them.
func writes(t *testing.T, out *strings.Builder, w *world, newClient func(testing.TB, string) *client) {
	t.Helper()
	front := record(t, w.proxy.url(), bothAPIs)
	c := newClient(t, front.url()+"/local").as("demo", "demo")
	c.create(recipe(t, "lib"), "ann/testing")
	const ref = "lib/1.0@ann/testing"
	if c.two {
		c.must("remote", "login", "r", "demo", "-p", "demo")
	} else {
		c.must("user", "-p", "demo", "-r", "r", "demo")
	}
	w.upstream.forget()
	remove := []string{"remove", ref, "-r", "r"}
	if c.two {
		remove = append(remove, "-c")
	} else {
		remove = append(remove, "-f")
	}
	for _, args := range [][]string{
		c.uploadArgs(ref, "r"),
		c.uploadArgs(ref, "r"),
		c.uploadArgs(ref, "r", "--force"),
		remove,
	} {
		front.forget()
		c.must(args...)
		section(out, strings.Join(args, " "), calls(front), nil)
	}
	if asked := w.upstream.calls(); len(asked) != 0 {
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

// calls returns a recorder's lines with ids replaced by what they are; downloads of files that stand side by side
// are sorted, since clients fetch them in parallel.
func calls(r *recorder) []string {
	out := r.calls()
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
	path := filepath.Join("testdata", "golden", name+".txt")
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
	if diff := cmp.Diff(lines(string(want)), lines(got)); diff != "" {
		t.Errorf("the requests differ from %s (-want +got); with -update they are written anew:\n%s", path, diff)
	}
}
