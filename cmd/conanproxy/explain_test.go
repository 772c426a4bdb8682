package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
	"conanproxy/proxy/api"
)

// explainWorld is a server with the stores release and dev and an upstream a, which is real and can
// be broken.
type explainWorld struct {
	t *testing.T
	*server
	a *conantest.Server
}

func newExplainWorld(t *testing.T, change func(*config.Config), sets ...conantest.Set) *explainWorld {
	t.Helper()
	a := conantest.NewServer(t, conantest.V2, sets...)
	cfg := testConfig(t, a.URL)
	cfg.Auth.Read = []config.Rule{{Pattern: "*", Users: []string{"*"}}}
	cfg.Stores = []config.Store{{Name: "release", Owns: []string{"*@acme/*"}, Overwrite: true}, {Name: "dev", Overwrite: true}}
	cfg.Upstreams[0].Exclude = []string{"boost/*"}
	change(cfg)
	return &explainWorld{t, testServer(t, cfg), a}
}

// publish puts sets into a store.
func (w *explainWorld) publish(store string, sets ...conantest.Set) {
	w.t.Helper()
	s, ok := w.current.Load().stores.named(store)
	if !ok {
		w.t.Fatalf("no store %s", store)
	}
	for _, set := range sets {
		names := set.Names()
		for _, manifest := range []bool{false, true} {
			for _, name := range names {
				if (name == conan.ManifestFile) != manifest {
					continue
				}
				up := conan.Upload{Revision: set.Revision, Name: name, By: conan.Actor{Name: "ann"}, Size: int64(len(set.Files[name])), Body: bytes.NewReader(set.Files[name])}
				if err := s.Put(w.t.Context(), up); err != nil {
					w.t.Fatalf("%s of %s: %v", name, set.Revision, err)
				}
			}
		}
	}
}

func (w *explainWorld) hide(rev conan.Revision, reason string) {
	w.t.Helper()
	if err := w.hiding.Hide(w.t.Context(), []index.Hide{{Revision: rev, Reason: reason}}, conan.Actor{}); err != nil {
		w.t.Fatal(err)
	}
}

// get asks the server for a path, and checks the status.
func (w *explainWorld) get(path string, status int, into any) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	if rec.Code != status {
		w.t.Fatalf("%s: status %d, want %d: %s", path, rec.Code, status, rec.Body)
	}
	if into != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *explainWorld) explain(reference string, more ...string) api.Explanation {
	w.t.Helper()
	query := url.Values{"reference": {reference}}
	for _, arg := range more {
		key, value, _ := strings.Cut(arg, "=")
		query.Add(key, value)
	}
	var e api.Explanation
	w.get("/api/v1/explain?"+query.Encode(), http.StatusOK, &e)
	return e
}

// times are those in texts.
var times = regexp.MustCompile(`\d+s ago|20\d\d-\d\d-\d\d \d\d:\d\d UTC`)

// lines is an explanation as the command prints it, without ids and times of this run.
func lines(e api.Explanation, names map[string]string) string {
	var b strings.Builder
	showExplanation(&b, e)
	text := b.String()
	for id, name := range names {
		text = strings.ReplaceAll(text, id, name)
	}
	return times.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "2026-03-0") {
			return s
		}
		return "NOW"
	})
}

var day = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// repacked is a package with the same files in other bytes.
func repacked(t *testing.T, set conantest.Set) conantest.Set {
	t.Helper()
	const archive = "conan_package.tgz"
	r, err := gzip.NewReader(bytes.NewReader(set.Files[archive]))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err == nil {
		_, err = io.Copy(w, r)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return set.With(archive, b.String())
}

func sha256Of(pkg conantest.Set) string {
	f, _ := pkg.Snapshot().Find("conan_package.tgz")
	return f.SHA256
}

// TestExplain has the cases that there are, each with the real rooms and a scripted upstream.
func TestExplain(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", conantest.Published(day))
	newer := conantest.Recipe("zlib", "1.3", conantest.Published(day.Add(24*time.Hour)), conantest.Code("# newer"))
	young := conantest.Recipe("zlib", "1.3", conantest.Published(time.Now().Add(-time.Hour)), conantest.Code("# young"))
	binary := conantest.Package(old, conantest.Setting("os", "Linux"), conantest.Published(day))
	own := conantest.Recipe("app", "1.0", conantest.Owner("acme", "stable"), conantest.Published(day))
	boost := conantest.Recipe("boost", "1.80.0", conantest.Published(day))
	names := map[string]string{old.RRev: "OLD", newer.RRev: "NEWER", young.RRev: "YOUNG", own.RRev: "OWN", boost.RRev: "BOOST",
		binary.PackageID: "ID", binary.PRev: "PREV", sha256Of(binary): "PACKED", sha256Of(repacked(t, binary)): "REPACKED"}
	for _, tt := range []struct {
		name      string
		upstream  []conantest.Set
		change    func(*config.Config)
		prepare   func(w *explainWorld)
		reference string
		want      string
	}{
		{
			name: "present", upstream: []conantest.Set{old, newer}, reference: "zlib/1.3",
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: has zlib/1.3#NEWER, published 2026-03-02 10:00 UTC (asked now)
answer: 200, zlib/1.3#NEWER from a: it is the first member in order that has it
`,
		},
		{
			name: "absent", reference: "zlib/1.3",
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: does not have zlib/1.3 (asked now)
answer: 404, no member has zlib/1.3
`,
		},
		{
			name: "another revision", upstream: []conantest.Set{newer}, reference: "zlib/1.3#" + old.RRev,
			want: `release: does not have zlib/1.3#OLD
dev: does not have zlib/1.3#OLD
a: does not have zlib/1.3#OLD; its newest is zlib/1.3#NEWER, published 2026-03-02 10:00 UTC (asked now)
answer: 404, no member has zlib/1.3#OLD
`,
		},
		{
			name: "hidden", upstream: []conantest.Set{old, newer}, reference: "zlib/1.3",
			prepare: func(w *explainWorld) { w.hide(newer.Revision, "1.3 crashes, use 1.2") },
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC; has zlib/1.3#NEWER, published 2026-03-02 10:00 UTC, hidden (hide 1): 1.3 crashes, use 1.2 (asked now)
answer: 200, zlib/1.3#OLD from a: it is the first member in order that has it
`,
		},
		{
			name: "hidden and named", upstream: []conantest.Set{old, newer}, reference: "zlib/1.3#" + newer.RRev,
			prepare: func(w *explainWorld) { w.hide(newer.Revision, "1.3 crashes, use 1.2") },
			want: `release: does not have zlib/1.3#NEWER
dev: does not have zlib/1.3#NEWER
a: has zlib/1.3#NEWER, published 2026-03-02 10:00 UTC, hidden (hide 1): 1.3 crashes, use 1.2 (asked now)
answer: 424, zlib/1.3#NEWER: hidden in "release": 1.3 crashes, use 1.2
`,
		},
		{
			name: "all of it hidden", upstream: []conantest.Set{old}, reference: "zlib/1.3",
			prepare: func(w *explainWorld) { w.hide(old.Revision, "bad") },
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC, hidden (hide 1): bad (asked now)
answer: 404, no member has a visible revision of zlib/1.3
`,
		},
		{
			name: "too young", upstream: []conantest.Set{young}, reference: "zlib/1.3",
			change: func(c *config.Config) { c.Upstreams[0].MinAge = 168 * time.Hour },
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: has zlib/1.3#YOUNG, published NOW, hidden: it is younger than 168h0m0s and becomes available at NOW (setting min_age); the server's administrator can except it (asked now)
answer: 404, no member has a visible revision of zlib/1.3
`,
		},
		{
			name: "stale", upstream: []conantest.Set{old}, reference: "zlib/1.3",
			change: func(c *config.Config) { c.Upstreams[0].FreshFor = 1 },
			prepare: func(w *explainWorld) {
				w.get("/v2/conans/zlib/1.3/_/_/latest", 200, nil)
				w.get("/v2/conans/zlib/1.3/_/_/revisions/"+old.RRev+"/files", 200, nil)
				w.a.Fault(conantest.Fault{Route: "*", Status: http.StatusTooManyRequests, Body: conantest.Text("no")})
			},
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC (an answer of NOW, used because the upstream could not be asked: asks for a pause (429))
answer: 200, zlib/1.3#OLD from a: it is the first member in order that has it
`,
		},
		{
			name: "refused", upstream: []conantest.Set{old}, reference: "zlib/1.3",
			prepare: func(w *explainWorld) { w.a.Fault(conantest.Refused("*/files")) },
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC; its files are refused: forbids access (403): Artifact download request rejected: blocked by policy 'no-gpl' (asked now)
answer: 424, zlib/1.3#OLD: upstream "a" is unavailable: forbids access (403): Artifact download request rejected: blocked by policy 'no-gpl'; the upstream itself refuses this, so its administrator has to allow it
`,
		},
		{
			name: "refused before", upstream: []conantest.Set{old}, reference: "zlib/1.3#" + old.RRev,
			prepare: func(w *explainWorld) {
				w.a.Fault(conantest.Refused("*/files"))
				w.get("/v2/conans/zlib/1.3/_/_/revisions/"+old.RRev+"/files", http.StatusFailedDependency, nil)
			},
			want: `release: does not have zlib/1.3#OLD
dev: does not have zlib/1.3#OLD
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC; its files are refused: forbids access (403): Artifact download request rejected: blocked by policy 'no-gpl', since NOW (asked now)
answer: 424, zlib/1.3#OLD: upstream "a" is unavailable: forbids access (403): Artifact download request rejected: blocked by policy 'no-gpl'; the upstream itself refuses this, so its administrator has to allow it
`,
		},
		{
			name: "unreachable", reference: "zlib/1.3",
			prepare: func(w *explainWorld) { w.a.Stop() },
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
a: unreachable: connection refused
answer: 503, zlib/1.3: upstream "a" is unavailable: connection refused
`,
		},
		{
			name: "unreachable, published in a store", reference: "zlib/1.3",
			prepare: func(w *explainWorld) { w.publish("dev", old); w.a.Stop() },
			want: `release: does not have zlib/1.3
dev: has zlib/1.3#OLD, published NOW
a: unreachable: connection refused
answer: 200, zlib/1.3#OLD from dev: something published in it is in no upstream, so it decides about the reference
`,
		},
		{
			name: "conflicting", upstream: []conantest.Set{old, binary}, reference: binary.Revision.String(),
			prepare: func(w *explainWorld) {
				w.publish("release", old, binary)
				w.publish("dev", old, repacked(t, binary))
			},
			want: `release: has zlib/1.3#OLD:ID#PREV, published NOW
dev: has zlib/1.3#OLD:ID#PREV, published NOW; its conan_package.tgz has other bytes than that of release: sha256 REPACKED, not PACKED
a: has zlib/1.3#OLD:ID#PREV, published 2026-03-01 10:00 UTC (asked now)
answer: 200, zlib/1.3#OLD:ID#PREV from release: it is the first member in order that has the whole revision
`,
		},
		{
			name: "owned", upstream: []conantest.Set{own}, reference: "app/1.0@acme/stable",
			want: `release: does not have app/1.0@acme/stable
dev: does not have app/1.0@acme/stable
a: not asked: store "release" owns the name by "*@acme/*"
answer: 404, no member has app/1.0@acme/stable
`,
		},
		{
			name: "excluded", upstream: []conantest.Set{boost}, reference: "boost/1.80.0",
			want: `release: does not have boost/1.80.0
dev: does not have boost/1.80.0
a: not asked: its rule exclude has "boost/*"
answer: 404, no member has boost/1.80.0
`,
		},
		{
			name: "an earlier upstream down", reference: "zlib/1.3",
			change: func(c *config.Config) {
				dead := c.Upstreams[0]
				dead.Name, dead.URL = "dead", "http://127.0.0.1:1"
				c.Upstreams = append([]config.Upstream{dead}, c.Upstreams...)
			},
			upstream: []conantest.Set{old},
			want: `release: does not have zlib/1.3
dev: does not have zlib/1.3
dead: unreachable: connection refused
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC (asked now)
answer: 503, zlib/1.3: upstream "dead" is unavailable: connection refused; no later member answers in its place, since it could have another answer
`,
		},
		{
			name: "an earlier upstream down and a copy", reference: "zlib/1.3",
			prepare: func(w *explainWorld) {
				w.publish("dev", binary)
				w.a.Stop()
			},
			upstream: []conantest.Set{old},
			change:   func(c *config.Config) { c.Upstreams[0].FreshFor, c.Upstreams[0].StaleFor = 1, 1 },
			want: `release: does not have zlib/1.3
dev: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC
a: unreachable: connection refused
answer: 200, zlib/1.3#OLD from dev: it has a copy, and no member that decides has it or could be asked
`,
		},
		{
			name: "found before", reference: "zlib/1.3#" + old.RRev,
			upstream: []conantest.Set{old},
			prepare: func(w *explainWorld) {
				w.get("/v2/conans/zlib/1.3/_/_/revisions/"+old.RRev+"/files", 200, nil)
				w.publish("dev", binary)
			},
			want: `release: does not have zlib/1.3#OLD
dev: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC
a: has zlib/1.3#OLD, published 2026-03-01 10:00 UTC (asked now)
answer: 200, zlib/1.3#OLD from a: the revision was found there before
`,
		},
		{
			name: "a package", upstream: []conantest.Set{old, binary}, reference: "zlib/1.3:" + binary.PackageID,
			want: `release: does not have zlib/1.3#OLD:ID
dev: does not have zlib/1.3#OLD:ID
a: has zlib/1.3#OLD:ID#PREV, published 2026-03-01 10:00 UTC (asked now)
answer: 200, zlib/1.3#OLD:ID#PREV from a: it has the newest revision of the package
`,
		},
		{
			name: "owner before the upstream", upstream: []conantest.Set{newer}, reference: "zlib/1.3",
			prepare: func(w *explainWorld) { w.publish("dev", old) },
			want: `release: does not have zlib/1.3
dev: has zlib/1.3#OLD, published NOW
a: has zlib/1.3#NEWER, published 2026-03-02 10:00 UTC (asked now)
answer: 200, zlib/1.3#OLD from dev: something published in it is in no upstream, so it decides about the reference
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = func(*config.Config) {}
			}
			w := newExplainWorld(t, tt.change, tt.upstream...)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			if diff := cmp.Diff(tt.want, lines(w.explain(tt.reference), names)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestExplainMissingBinary compares what there is with what was wanted.
func TestExplainMissingBinary(t *testing.T) {
	old := conantest.Recipe("zlib", "1.3", conantest.Published(day))
	newer := conantest.Recipe("zlib", "1.3", conantest.Published(day.Add(time.Hour)), conantest.Code("# newer"))
	other := conantest.Recipe("zlib", "1.2", conantest.Published(day))
	linux := func(recipe conantest.Set, hours int, more ...conantest.Option) conantest.Set {
		return conantest.Package(recipe, append([]conantest.Option{
			conantest.Setting("os", "Linux"), conantest.Setting("compiler", "gcc"), conantest.Published(day.Add(time.Duration(hours) * time.Hour)),
		}, more...)...)
	}
	debug, release := conantest.Setting("build_type", "Debug"), conantest.Setting("build_type", "Release")
	static, shared := conantest.Choice("shared", "False"), conantest.Choice("shared", "True")
	has := linux(newer, 2, release, static)
	hasShared := linux(newer, 3, release, shared)
	again := linux(newer, 4, release, static, conantest.Requires("bzip2/1.0.Z"))
	was := linux(old, 2, debug, static)
	wasOther := linux(other, 2, debug, shared)
	names := map[string]string{old.RRev: "OLD", newer.RRev: "NEWER", other.RRev: "OTHER", has.PackageID: "HAS", hasShared.PackageID: "SHARED",
		again.PackageID: "AGAIN", was.PackageID: "WAS", wasOther.PackageID: "WASOTHER", has.PRev: "P1", hasShared.PRev: "P2", again.PRev: "P3"}
	binaries := []conantest.Set{old, newer, other, has, hasShared, again, was, wasOther}
	conan1 := linux(old, 2, release, conantest.Conan1())
	red := conantest.Package(newer, conantest.Setting("os", "\x1b[31mLinux"), conantest.Published(day))
	names[conan1.PackageID], names[conan1.PRev], names[red.PackageID], names[red.PRev] = "CONAN1", "P4", "RED", "P5"
	const nothing = "0123456789012345678901234567890123456789"
	for _, tt := range []struct {
		name      string
		sets      []conantest.Set
		reference string
		args      []string
		want      string // from the line "nearest" on
	}{
		{
			name: "a profile", sets: binaries, reference: "zlib/1.3", args: []string{"settings=os=Linux", "settings=build_type=Debug", "settings=arch=x86_64", "options=shared=False"},
			want: `nearest: the nearest 3 of 3 binaries of zlib/1.3#NEWER
  zlib/1.3#NEWER:AGAIN#P3, published 2026-03-01 14:00 UTC, a
    setting build_type is Release, wanted Debug
  zlib/1.3#NEWER:HAS#P1, published 2026-03-01 12:00 UTC, a
    setting build_type is Release, wanted Debug
  zlib/1.3#NEWER:SHARED#P2, published 2026-03-01 13:00 UTC, a
    setting build_type is Release, wanted Debug
    option shared is True, wanted False
`,
		},
		{
			name: "a graph", sets: binaries, reference: "zlib/1.3#" + newer.RRev + ":" + nothing,
			args: []string{"exact=true", "settings=os=Linux", "settings=build_type=Release", "options=shared=True", "requires=bzip2/1.1.Z"},
			want: `nearest: the nearest 3 of 3 binaries of zlib/1.3#NEWER
  zlib/1.3#NEWER:SHARED#P2, published 2026-03-01 13:00 UTC, a
    setting compiler is gcc, wanted not there
    requirement bzip2 is not there, wanted 1.1.Z
  zlib/1.3#NEWER:AGAIN#P3, published 2026-03-01 14:00 UTC, a
    setting compiler is gcc, wanted not there
    option shared is False, wanted True
    requirement bzip2 is 1.0.Z, wanted 1.1.Z
  zlib/1.3#NEWER:HAS#P1, published 2026-03-01 12:00 UTC, a
    setting compiler is gcc, wanted not there
    option shared is False, wanted True
    requirement bzip2 is not there, wanted 1.1.Z
`,
		},
		{
			name: "a package id of the revision before", sets: []conantest.Set{old, newer, has, was}, reference: "zlib/1.3:" + was.PackageID,
			want: `nearest: the nearest 1 of 1 binaries of zlib/1.3#NEWER, compared with zlib/1.3#OLD:WAS
  zlib/1.3#NEWER:HAS#P1, published 2026-03-01 12:00 UTC, a
    setting build_type is Release, wanted Debug
`,
		},
		{
			name: "a package id of another version", sets: []conantest.Set{newer, other, hasShared, wasOther}, reference: "zlib/1.3:" + wasOther.PackageID,
			want: `nearest: the nearest 1 of 1 binaries of zlib/1.3#NEWER, compared with zlib/1.2#OTHER:WASOTHER
  zlib/1.3#NEWER:SHARED#P2, published 2026-03-01 13:00 UTC, a
    setting build_type is Release, wanted Debug
`,
		},
		{
			name: "an unknown package id", sets: binaries, reference: "zlib/1.3:" + nothing,
			want: "nearest: there are 3 binaries of zlib/1.3#NEWER, and nothing here tells the settings and options of package id " + nothing +
				": name them by a profile or a graph\n",
		},
		{
			name: "no binary", sets: []conantest.Set{old}, reference: "zlib/1.3:" + nothing,
			want: "nearest: there is no binary of zlib/1.3#OLD\n",
		},
		{
			name: "with control characters", sets: []conantest.Set{newer, red}, reference: "zlib/1.3:" + nothing, args: []string{"settings=os=Linux"},
			want: `nearest: the nearest 1 of 1 binaries of zlib/1.3#NEWER
  zlib/1.3#NEWER:RED#P5, published 2026-03-01 10:00 UTC, a
    setting os is ` + "\ufffd" + `[31mLinux, wanted Linux
`,
		},
		{
			name: "of Conan 1", sets: []conantest.Set{old, conan1}, reference: "zlib/1.3", args: []string{"settings=build_type=Debug", "settings=os=Linux"},
			want: `nearest: the nearest 1 of 1 binaries of zlib/1.3#OLD
  zlib/1.3#OLD:CONAN1#P4, published 2026-03-01 12:00 UTC, a
    setting build_type is Release, wanted Debug
`,
		},
		{
			name: "an equal one", sets: []conantest.Set{newer, has}, reference: "zlib/1.3", args: []string{"settings=os=Linux"},
			want: `nearest: the nearest 1 of 1 binaries of zlib/1.3#NEWER
  zlib/1.3#NEWER:HAS#P1, published 2026-03-01 12:00 UTC, a
    equal in everything that was compared
`,
		},
		{name: "no recipe", reference: "zlib/1.3:" + nothing, args: []string{"settings=os=Linux"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newExplainWorld(t, func(*config.Config) {}, tt.sets...)
			_, got, found := strings.Cut(lines(w.explain(tt.reference, tt.args...), names), "\nnearest: ")
			if found {
				got = "nearest: " + got
			} else {
				got = ""
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An upstream that does not answer is waited for as often as by the request that is explained.
func TestExplainAsksADeadUpstreamOnce(t *testing.T) {
	dead := func() *explainWorld {
		w := newExplainWorld(t, func(c *config.Config) { c.Upstreams[0].Timeout = 200 * time.Millisecond })
		w.a.Fault(conantest.Fault{Route: "*/zlib/*", BlackHole: true})
		return w
	}
	const nothing = "0123456789012345678901234567890123456789"
	for reference, path := range map[string]string{
		"zlib/1.3":               "/latest",
		"zlib/1.3#r1":            "/revisions/r1/files",
		"zlib/1.3#r1:" + nothing: "/revisions/r1/packages/" + nothing + "/latest",
		"zlib/1.3:" + nothing:    "/latest",
	} {
		asks, explains := dead(), dead()
		asks.get("/v2/conans/zlib/1.3/_/_"+path, http.StatusServiceUnavailable, nil)
		e := explains.explain(reference, "settings=os=Linux")
		if last := e.Members[2]; e.Answer.Status != http.StatusServiceUnavailable || last.State != api.StateUnreachable {
			t.Errorf("%s: %+v, %+v", reference, e.Answer, last)
		}
		if want, got := asks.a.Count("*/zlib/*"), explains.a.Count("*/zlib/*"); got != want {
			t.Errorf("%s: %d requests to the upstream, want %d as for %s", reference, got, want, path)
		}
	}
}
