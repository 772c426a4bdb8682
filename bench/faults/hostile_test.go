package faults

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// manyMembers packs an archive of n empty members, which is small and unpacks to half a kilobyte
// for each.
func (r *run) manyMembers(n int) []byte {
	var b bytes.Buffer
	zip, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	r.must(err)
	pack := tar.NewWriter(zip)
	for i := range n {
		r.must(pack.WriteHeader(&tar.Header{Name: fmt.Sprintf("lib/%07d", i), Mode: 0o644}))
	}
	r.must(pack.Close())
	r.must(zip.Close())
	return b.Bytes()
}

// longManifest is a manifest of about size bytes.
func longManifest(size int) []byte {
	var b bytes.Buffer
	b.WriteString("1700000000\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "lib/%07d: d41d8cd98f00b204e9800998ecf8427e\n", i)
	}
	return b.Bytes()
}

// hostileContents uploads packages whose archives and manifests cost little to send and much to
// read.
func hostileContents(r *run, s *server) (string, bool) {
	archiveBytes, manifest := r.manyMembers(small(200_000, 990_000)), longManifest(small(12<<20, 60<<20))
	recipe := conantest.Recipe("hostile", "1.0")
	r.must(publish(r.Context(), s.url("/local"), s.token, recipe))
	pkg := conantest.Package(recipe)
	const packages = 8
	var answered atomic.Int64
	var wg sync.WaitGroup
	for i := range packages {
		wg.Go(func() {
			rev := pkg.Revision
			rev.PackageID, rev.PRev = fmt.Sprintf("%040x", i+1), fmt.Sprintf("%032x", i+1)
			for _, f := range []struct {
				name string
				body []byte
			}{{archive, archiveBytes}, {conan.InfoFile, pkg.Files[conan.InfoFile]}, {conan.ManifestFile, manifest}} {
				a := ask(r.Context(), http.MethodPut, s.url("/local"+filePath(rev, f.name)), f.body, s.token)
				if a.err == nil && (a.status < 500 || a.status == http.StatusServiceUnavailable) {
					answered.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return fmt.Sprintf("%d of %d uploads answered", answered.Load(), 3*packages), int(answered.Load()) == 3*packages
}

// TestHostileUpstream has anonymous clients ask for archives and manifests of an upstream that cost
// much to read.
func TestHostileUpstream(t *testing.T) {
	r := newRun(t)
	archiveBytes, manifest := r.manyMembers(small(200_000, 990_000)), longManifest(small(12<<20, 60<<20))
	var sets []conantest.Set
	const packages = 8
	for i := range packages {
		recipe := conantest.Recipe(fmt.Sprintf("hostile%d", i), "1.0")
		pkg := conantest.Package(recipe)
		pkg.Files = map[string][]byte{archive: archiveBytes, conan.InfoFile: pkg.Files[conan.InfoFile], conan.ManifestFile: manifest}
		sets = append(sets, recipe, pkg)
	}
	origin := conantest.NewServer(r, conantest.V2, sets...)
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}})
	s.Process.ResetPeak()
	var wg sync.WaitGroup
	var unanswered troubles
	for _, set := range sets {
		wg.Go(func() {
			for _, name := range set.Names() {
				if a := get(r.Context(), s.url(filePath(set.Revision, name))); a.status == 0 {
					unanswered.add("%s of %s: %s", name, set.Revision, a)
				}
			}
		})
	}
	wg.Wait()
	_, peak := s.Process.Memory()
	r.none("hostile archives and manifests of an upstream, 8 of each at once", "all requests are answered", fmt.Sprintf("%d packages", packages), unanswered.all())
	r.figure("peak RSS meanwhile", "< 300 MB", peak > 0 && peak < 300e6, "%.0f MB", float64(peak)/1e6)
}

// TestHostileSearches has an anonymous client search by ever new patterns, each of which finds
// everything, so that each answer would be remembered.
func TestHostileSearches(t *testing.T) {
	const bits = 13
	r := newRun(t)
	var sets []conantest.Set
	for i := range 200 {
		sets = append(sets, conantest.Recipe(fmt.Sprintf("lib%d", i), strings.Repeat("0", bits)))
	}
	origin := conantest.NewServer(r, conantest.V2, sets...)
	s := r.serve(settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}})
	searches := small(1500, 5000)
	var failed troubles
	ask := func(pattern string) {
		a := get(r.Context(), s.url("/v2/conans/search?q="+url.QueryEscape(pattern)))
		if a.err != nil || a.status != http.StatusOK || !strings.Contains(string(a.body), "lib199/") {
			failed.add("%s: %s", pattern, a)
		}
	}
	for i := range searches {
		ask("lib*/" + strings.Map(func(c rune) rune {
			if c == '1' {
				return '?'
			}
			return c
		}, fmt.Sprintf("%0*b", bits, i)))
	}
	var dropped float64
	eventually(10*time.Second, func() bool { // they are dropped behind the answers
		dropped = s.metric(r, "conanproxy_cache_searches_dropped_total")
		return dropped == float64(searches-1000)
	})
	size := r.sizeOf(filepath.Join(s.data, "index.db"), filepath.Join(s.data, "index.db-wal"))
	ask("*")
	asked := origin.Count("GET */search*")
	for i := range searches {
		ask(strings.Repeat("*", i%200+1)) // the same question
	}
	again := origin.Count("GET */search*") - asked
	r.none("anonymous searches by ever new patterns", "all are answered", fmt.Sprintf("%d searches", 2*searches), failed.all())
	r.figure("requests upstream for spellings of one pattern", "0", again == 0, "%d", again)
	r.figure("answers dropped beyond the bound of 1000", "all", dropped == float64(searches-1000), "%.0f of %d", dropped, searches)
	r.figure("size of the index afterwards", "< 32 MB", size < 32e6, "%.1f MB", float64(size)/1e6)
}

// metric is the sum of the values of a metric.
func (s *server) metric(r *run, name string) (sum float64) {
	a := get(r.Context(), s.url("/metrics"))
	r.must(a.err)
	for line := range strings.Lines(string(a.body)) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(series, name) {
			f, err := strconv.ParseFloat(value, 64)
			r.must(err)
			sum += f
		}
	}
	return sum
}

// sizeOf is the size of the files that are there.
func (r *run) sizeOf(paths ...string) (total int64) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if os.IsNotExist(err) {
			continue
		}
		r.must(err)
		total += info.Size()
	}
	return total
}
