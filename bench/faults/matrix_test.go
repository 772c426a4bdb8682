package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
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

// trouble is one way in which an upstream is broken.
type trouble struct {
	name     string
	faults   func(random *rand.Rand) []conantest.Fault
	refused  bool // nobody listens
	expired  bool // TLS with an expired certificate
	notFound bool // upstream says that there is no such thing: this may be passed on
}

func every(f conantest.Fault) func(*rand.Rand) []conantest.Fault {
	if f.Route == "" {
		f.Route = "*"
	}
	return func(*rand.Rand) []conantest.Fault { return []conantest.Fault{f} }
}

func status(code int, header ...string) trouble {
	name := strconv.Itoa(code)
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
		name += " with " + header[i]
	}
	return trouble{name: name, notFound: code == http.StatusNotFound,
		faults: every(conantest.Fault{Status: code, Header: h, Body: conantest.Text("upstream says no")})}
}

// allTroubles is the fault matrix.
func allTroubles() []trouble {
	html := conantest.HTML("*")
	html.Status = http.StatusForbidden
	list := []trouble{
		{name: "refused", refused: true},
		{name: "black hole", faults: every(conantest.Fault{BlackHole: true})},
		{name: "slow drip", faults: func(*rand.Rand) []conantest.Fault {
			return []conantest.Fault{{Route: "*/" + archive, BytesPerSecond: 200 << 10}, {Route: "*", BytesPerSecond: 500}}
		}},
		{name: "reset at random offsets", faults: func(random *rand.Rand) []conantest.Fault {
			return []conantest.Fault{{Route: "*/" + archive, Cut: conantest.At(random.Int64N(bigFile))}, {Route: "*", Cut: conantest.At(random.Int64N(60))}}
		}},
		{name: "reset at once", faults: every(conantest.Fault{Reset: true})},
		{name: "truncated", faults: every(conantest.Fault{ContentLength: conantest.At(25)})},
		{name: "403 HTML", faults: every(html)},
		{name: "200 HTML", faults: every(conantest.HTML("*"))},
		{name: "200 text", faults: every(conantest.PlainText("*"))},
		{name: "broken JSON", faults: every(conantest.BrokenJSON("*"))},
		{name: "wrong content type", faults: every(conantest.Fault{ContentType: "text/html; charset=utf-8"})},
		{name: "wrong md5", faults: every(conantest.Fault{Route: "*/files/*", Flip: conantest.At(20)})},
		{name: "redirect loop", faults: every(conantest.Fault{RedirectLoop: true})},
		{name: "expired TLS", expired: true},
	}
	for _, code := range []int{401, 403, 404, 429, 500, 501, 502, 503, 504} {
		list = append(list, status(code))
	}
	return append(list, status(429, "Retry-After", "2"), status(503, "Retry-After", "2"))
}

// bigFile is the size of the one archive that is handed out while it arrives.
const bigFile = 1500 << 10

// cell is one read route with an upstream of its own, so that no breaker hides one route's failure
// behind another's.
type cell struct {
	member string
	path   string   // below the member's view
	pinned bool     // what it asks for never changes
	file   bool     // a body may begin before it is known to be good
	warm   []string // asked too to have it warm: a list is kept for ever once all files of it are
}

// matrixSets are what every upstream of the matrix has.
func matrixSets() (sets []conantest.Set) {
	recipe := conantest.Recipe("lib", "1.0", conantest.Owner("demo", "testing"), conantest.File("data.yml", "x"), conantest.Source("src/a.c", "int a;"))
	big := conantest.Recipe("big", "1.0", conantest.Owner("demo", "testing"))
	return []conantest.Set{recipe, conantest.Package(recipe), big, conantest.Package(big, conantest.Random("lib/a", bigFile))}
}

// cells are all read routes.
func cells() []cell {
	sets := matrixSets()
	recipe, pkg, big := sets[0], sets[1], sets[3]
	v1 := "/v1/conans/" + recipe.Ref.Path()
	v1pkg := v1 + "/packages/" + pkg.PackageID
	files := "/v1/files/" + recipe.Ref.Path() + "/" + recipe.RRev
	v2 := "/v2/conans/" + recipe.Ref.Path()
	v2pkg := revisionPath(recipe.Revision) + "/packages/" + pkg.PackageID
	list := []cell{
		{path: v1}, {path: v1 + "/digest"}, {path: v1 + "/download_urls"}, {path: v1 + "/search"},
		{path: v1pkg}, {path: v1pkg + "/digest"}, {path: v1pkg + "/download_urls"},
		{path: "/v1/conans/search?q=lib*"}, {path: "/v2/conans/search?q=lib*"},
		{path: files + "/export/" + conan.RecipeFile, pinned: true, file: true},
		{path: files + "/export/" + conan.ManifestFile, pinned: true, file: true},
		{path: files + "/package/" + pkg.PackageID + "/" + pkg.PRev + "/" + archive, pinned: true, file: true},
		{path: v2 + "/latest"}, {path: v2 + "/revisions"}, {path: v2 + "/search"},
		{path: revisionPath(recipe.Revision) + "/search"},
		{path: revisionPath(recipe.Revision) + "/files", pinned: true, warm: filePaths(recipe)},
		{path: v2pkg + "/latest"}, {path: v2pkg + "/revisions"},
		{path: revisionPath(pkg.Revision) + "/files", pinned: true, warm: filePaths(pkg)},
		{path: filePath(big.Revision, archive), pinned: true, file: true},
	}
	for _, set := range []conantest.Set{recipe, pkg} {
		for _, name := range set.Names() {
			list = append(list, cell{path: filePath(set.Revision, name), pinned: true, file: true})
		}
	}
	for i := range list {
		list[i].member = fmt.Sprintf("member%d", i)
	}
	return list
}

// filePaths are those of all files of a set.
func filePaths(set conantest.Set) (paths []string) {
	for _, name := range set.Names() {
		paths = append(paths, filePath(set.Revision, name))
	}
	return paths
}

// matrix is the whole of it, for upstreams of one API.
type matrix struct {
	api    conantest.API
	cells  []cell
	right  []answer // of each cell
	cold   troubles
	warm   troubles
	bad    troubles // what was remembered wrongly
	served atomic.Int64
}

// TestMatrix breaks upstream in every way, for every route.
func TestMatrix(t *testing.T) {
	r := newRun(t)
	list := allTroubles()
	apis := map[string]conantest.API{"v2": conantest.V2}
	if !*full {
		list = slices.DeleteFunc(list, func(t trouble) bool {
			return slices.Contains([]string{"501", "502", "504", "reset at once", "401", "200 text"}, t.name)
		})
	} else {
		apis["v1"] = conantest.V1
	}
	for _, name := range slices.Sorted(maps.Keys(apis)) {
		m := &matrix{api: apis[name], cells: cells()}
		m.reference(r)
		together(r, list, func(t trouble) string { return t.name }, m.try)
		what := fmt.Sprintf("%d faults × %d routes, %s upstream", len(list), len(m.cells), name)
		r.none(what+", cold", "503 or 424 that names upstream, or the rule's 404, or right", fmt.Sprintf("%d requests, %d served all the same", len(list)*len(m.cells), m.served.Load()), m.cold.all())
		r.none(what+", warm", "100 % served", fmt.Sprintf("%d requests", len(list)*len(m.cells)), m.warm.all())
		r.none(what+", afterwards", "0 bad entries", fmt.Sprintf("%d requests after a restart, and fsck", len(list)*len(m.cells)), m.bad.all())
	}
}

// reference learns what the right answers are, from a server whose upstreams are well.
func (m *matrix) reference(r *run) {
	s := r.serve(settings{upstreams: m.members(m.origins(r), "", nil)})
	defer s.Stop()
	m.right = m.askAll(r, s)
	for i, a := range m.right {
		if a.err != nil || a.status != http.StatusOK {
			r.Fatalf("%s of a good upstream: %s", m.cells[i].path, a)
		}
	}
}

// origins starts an upstream for each cell.
func (m *matrix) origins(r *run) []*conantest.Server {
	var list []*conantest.Server
	for range m.cells {
		list = append(list, conantest.NewServer(r, m.api, matrixSets()...))
	}
	return list
}

// members are the upstreams as settings, by TLS if there are fronts.
func (m *matrix) members(origins []*conantest.Server, ca string, fronts []string) []harness.Settings {
	more := harness.Settings{"timeout": "2s"}
	if ca != "" {
		more["ca_file"] = ca
	}
	var list []harness.Settings
	for i, c := range m.cells {
		url := origins[i].URL
		if fronts != nil {
			url = fronts[i]
		}
		list = append(list, harness.Upstream(c.member, url, quickly, more))
	}
	return list
}

// askAll asks all cells at once.
func (m *matrix) askAll(r *run, s *server) []answer {
	answers := make([]answer, len(m.cells))
	var wg sync.WaitGroup
	for i, c := range m.cells {
		wg.Go(func() { answers[i] = get(r.Context(), s.url("/upstream/"+c.member+c.path)) })
	}
	wg.Wait()
	return answers
}

// try tries one fault: cold, then what is remembered after it, then warm.
func (m *matrix) try(r *run, t trouble) {
	origins := m.origins(r)
	good := m.members(origins, "", nil)
	broken := good
	if t.expired {
		ca, fronts := r.expiredFronts(origins)
		broken = m.members(origins, ca, fronts)
	}
	s := r.newServer(settings{upstreams: broken})
	m.breakAll(r, t, origins)
	s.start()
	for i, a := range m.askAll(r, s) {
		if fine, same := m.fineCold(t, i, a); !fine {
			m.cold.add("%s: %s: %s", t.name, m.cells[i].path, a)
		} else if same {
			m.served.Add(1)
		}
	}
	s.Stop()

	m.mendAll(t, origins)
	s.configure(settings{upstreams: good})
	s.start()
	for i, a := range m.askAll(r, s) {
		if !a.is(m.right[i].body) {
			m.bad.add("after %s: %s: %s", t.name, m.cells[i].path, a)
		}
	}
	for _, c := range m.cells {
		for _, path := range c.warm {
			get(r.Context(), s.url("/upstream/"+c.member+path))
		}
	}
	if t.expired {
		s.Stop()
		s.configure(settings{upstreams: broken})
		s.start()
	}
	m.breakAll(r, t, origins)
	time.Sleep(5 * time.Millisecond) // everything that may grow old is old now
	for i, a := range m.askAll(r, s) {
		if !(t.notFound && !m.cells[i].pinned && a.saysNone()) && !a.is(m.right[i].body) {
			m.warm.add("%s: %s: %s", t.name, m.cells[i].path, a)
		}
	}
	s.Stop()
	if out, err := s.command("fsck"); err != nil {
		m.bad.add("%s: %s", t.name, lastLine(out))
	}
}

// fineCold classifies an answer for which nothing was stored. same: it is right, in spite of all.
func (m *matrix) fineCold(t trouble, i int, a answer) (fine, same bool) {
	switch {
	case a.is(m.right[i].body):
		return true, true
	case a.status == http.StatusServiceUnavailable || a.status == http.StatusFailedDependency:
		return a.err == nil && strings.Contains(string(a.body), m.cells[i].member), false
	case a.saysNone():
		return t.notFound, false
	case a.status == http.StatusOK: // a body that began has to end short
		return m.cells[i].file && a.err != nil, false
	}
	return false, false
}

func (m *matrix) breakAll(r *run, t trouble, origins []*conantest.Server) {
	for _, origin := range origins {
		breakOne(r, t, origin)
	}
}

func (m *matrix) mendAll(t trouble, origins []*conantest.Server) {
	for _, origin := range origins {
		mendOne(t, origin)
	}
}

// breakOne breaks one upstream. What concerns TLS is in its URL.
func breakOne(r *run, t trouble, origin *conantest.Server) {
	if t.refused {
		origin.Stop()
	}
	if t.faults != nil {
		for _, f := range t.faults(r.random) {
			origin.Fault(f)
		}
	}
}

func mendOne(t trouble, origin *conantest.Server) {
	origin.ClearFaults()
	if t.refused {
		origin.Start()
	}
}
