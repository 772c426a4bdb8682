package conformance

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// matrixWorld is a server with two stores, an upstream and two views. It has references that are in
// one or several of the members, and of each a twin that is nowhere.
type matrixWorld struct {
	*site
	base harness.Settings // without rules
	refs []matrixRef
}

// matrixRef is a package with its recipe, and the members that answer for it. owned/1.0 is upstream
// too, but a store owns it.
type matrixRef struct {
	recipe, pkg conantest.Set
	in          []string // none: it is nowhere
}

// matrixView is a view and the paths at which it is.
type matrixView struct {
	name    string
	members []string
	store   string // that takes writes; empty: none
	paths   []string
}

// matrixViews are all views of the world at all of their paths.
func matrixViews() []matrixView {
	gitlab := func(names ...string) (paths []string) {
		for _, name := range names {
			paths = append(paths, "/projects/"+name+"/packages/conan", "/api/v4/projects/"+name+"/packages/conan")
		}
		return paths
	}
	at := func(paths ...string) []string { return paths }
	return []matrixView{
		{"all", []string{"dev", "release", "direct"}, "dev", append(at("", "/packages/conan", "/api/v4/packages/conan"), gitlab("all")...)},
		{"dev", []string{"dev"}, "dev", append(at("/local", "/r/dev"), gitlab("dev", "local")...)},
		{"release", []string{"release"}, "release", append(at("/r/release"), gitlab("release")...)},
		{"direct", []string{"direct"}, "", append(at("/upstream/direct", "/r/direct"), gitlab("direct")...)},
		{"team", []string{"release", "dev", "direct"}, "release", append(at("/r/team"), gitlab("team")...)},
		{"outside", []string{"release", "direct"}, "", append(at("/r/outside"), gitlab("outside")...)},
	}
}

func newMatrixWorld(t *testing.T) *matrixWorld {
	t.Helper()
	w := &matrixWorld{}
	up := conantest.NewServer(t, conantest.Both)
	w.base = harness.Settings{
		"log":       harness.Settings{"access": false},
		"stores":    []harness.Settings{{"name": "dev"}, {"name": "release", "owns": []string{"owned/*"}}},
		"upstreams": []harness.Settings{harness.Upstream("direct", up.URL)},
		"views": []harness.Settings{
			{"name": "team", "members": []string{"release", "dev", "direct"}, "publish": "release"},
			{"name": "outside", "members": []string{"release", "direct"}},
		},
	}
	w.site = startSite(t, w.with(ruleSets()[0]))
	writeUsers(t, w.users, "eve", "gone")
	for _, tt := range []struct {
		name   string
		owner  []conantest.Option
		in     []string
		hidden bool // from the upstream, which has it
	}{
		{"shared", nil, []string{"dev", "release", "direct"}, false},
		{"inner", []conantest.Option{conantest.Owner("ann", "testing")}, []string{"dev"}, false},
		{"outer", nil, []string{"direct"}, false},
		{"owned", nil, []string{"release"}, true},
	} {
		ref := func(version string, in []string) matrixRef {
			recipe := conantest.Recipe(tt.name, version, append(tt.owner, conantest.Conan1())...)
			return matrixRef{recipe, conantest.Package(recipe, conantest.Conan1()), in}
		}
		present := ref("1.0", tt.in)
		w.refs = append(w.refs, present, ref("9.9", nil))
		if tt.hidden || slices.Contains(tt.in, "direct") {
			up.Add(present.recipe, present.pkg)
		}
		for _, store := range tt.in {
			if store != "direct" {
				w.publishAt(t, "/r/"+store, "demo", present.recipe, present.pkg)
			}
		}
	}
	return w
}

// with are the settings of the world with rules.
func (w *matrixWorld) with(rules ruleSet) harness.Settings {
	s := harness.Settings{"auth": rules.settings()}
	for key, value := range w.base {
		s[key] = value
	}
	return s
}

// publishAt uploads sets to a view.
func (s *site) publishAt(t testing.TB, mount, user string, sets ...conantest.Set) {
	t.Helper()
	for _, set := range sets {
		for _, name := range set.Names() {
			s.call(t, http.MethodPut, mount+file2(set.Revision, name), s.as(t, user), file(set.Files[name])).is(t, http.StatusOK)
		}
	}
}

// matrixCallers are an anonymous caller, users, and everybody with bad credentials: among them a
// user who was removed after a login.
func (w *matrixWorld) matrixCallers(t *testing.T) []rightsCaller {
	t.Helper()
	removed := w.token(t, "gone")
	writeUsers(t, w.users, "eve")
	callers := []rightsCaller{{name: "nobody", who: w.as(t, nobody)}}
	for _, user := range []string{"ann", "bob", "eve"} {
		callers = append(callers, rightsCaller{name: user, who: w.as(t, user), user: user})
	}
	callers = append(callers, rightsCaller{name: "ann by password", who: basic("ann", "ann"), user: "ann", twin: true})
	callers = append(callers, w.robots(t)...)
	callers = append(callers, rightsCaller{name: "removed user", who: bearer(removed), bad: true})
	signature := signatureOf(t, w.announce(t, "ann", w.refs[0].pkg.Revision, w.refs[0].pkg.Files)[conan.InfoFile])
	return append(callers, w.badCallers(t, signature)...)
}

// robots are tokens with some of their owners' rights.
func (w *matrixWorld) robots(t *testing.T) (callers []rightsCaller) {
	t.Helper()
	for _, r := range []struct {
		name, owner string
		robotLimits
		byPassword bool
	}{
		{"reader", "ann", robotLimits{read: true, in: []string{"dev", "direct"}}, false},
		{"builder", "ann", robotLimits{read: true, write: true, pattern: "*@{user}/*"}, false},
		{"shipper", "bob", robotLimits{read: true, write: true, in: []string{"release"}}, true},
		{"dropbox", "bob", robotLimits{write: true}, false},
	} {
		made := decode[struct{ Secret string }](t, w.call(t, http.MethodPost, "/api/v1/tokens", w.as(t, r.owner), asJSON(map[string]any{
			"name": r.name, "read": r.read, "write": r.write, "pattern": r.pattern, "in": r.in,
		})))
		c := rightsCaller{name: r.owner + "'s " + r.name, who: bearer(made.Secret), user: r.owner, twin: true, robot: &r.robotLimits}
		if r.byPassword {
			c.name, c.who = c.name+" by password", basic(r.name, made.Secret)
		}
		callers = append(callers, c)
	}
	return callers
}

// TestRightsMatrix asks every route, in every view, as everybody, under every set of rules, and
// compares the status with that of a second evaluator of the rules.
//
// Each view is asked at its first path, and a third as often at its other paths. HEAD, bad
// credentials, which no rules admit, and reading what is nowhere take turns: each of them meets
// every route of every view in some of the sets.
func TestRightsMatrix(t *testing.T) {
	t.Parallel()
	w := newMatrixWorld(t)
	callers := w.matrixCallers(t)
	var routes [][]rightsRoute
	for _, ref := range w.refs {
		routes = append(routes, routesFor(ref.pkg))
	}
	asked := 0
	for i, rules := range ruleSets() {
		t.Run(rules.name, func(t *testing.T) {
			w.reload(t, w.with(rules))
			var cells []matrixCell
			for v, view := range matrixViews() {
				for c, caller := range callers {
					cells = append(cells, w.cells(rules, view, caller, routes, i+v+c)...)
				}
			}
			asked += len(cells)
			w.askAll(t, cells)
			for v, view := range matrixViews() {
				for c, caller := range callers {
					if !caller.bad || *everyCell || (i+v+c)%badTurns == 0 {
						w.askSearch(t, rules, view, caller)
					}
				}
			}
		})
	}
	t.Run("nothing has changed", func(t *testing.T) {
		w.reload(t, w.with(ruleSets()[0]))
		for _, ref := range w.refs {
			for _, view := range matrixViews() {
				if slices.ContainsFunc(ref.in, func(m string) bool { return slices.Contains(view.members, m) }) {
					w.install1(t, view.paths[0], nobody, ref.pkg)
					w.install2(t, view.paths[0], nobody, ref.pkg)
				}
			}
		}
	})
	t.Logf("%d requests for packages", asked)
}

// matrixCell is one question and what its answer must be.
type matrixCell struct {
	mount  string
	route  rightsRoute
	caller rightsCaller
	ref    matrixRef
	want   int      // status; 0: any that refuses no right
	hidden []string // members of the view that the caller may not read
}

// everyCell asks all questions: more than five million, which took nine minutes on two cores.
var everyCell = flag.Bool("rights.all", false, "ask every cell of the matrix of rights, and not only some of the rare ones")

// Of how many questions one is asked: of rare ones, and with bad credentials. There are more sets
// of rules than that.
const (
	rareTurns = 5
	badTurns  = 13
)

// cells are the questions of one caller to one view. turn decides which of the rare ones.
func (w *matrixWorld) cells(rules ruleSet, view matrixView, c rightsCaller, routes [][]rightsRoute, turn int) (cells []matrixCell) {
	aliases := view.paths[1:]
	for i, ref := range w.refs {
		readable, hidden := readableIn(rules, view, c, ref)
		for _, route := range routes[i] {
			turn++
			rare := c.twin || route.method == http.MethodHead || ref.in == nil && !route.write
			if !*everyCell && (rare && turn%rareTurns != 0 || c.bad && turn%badTurns != 0) {
				continue
			}
			cell := matrixCell{"", route, c, ref, 0, hidden}
			cell.want = wantRead(c, readable, ref)
			if route.write {
				cell.want = wantWrite(rules, c, view, ref, route.method)
			}
			if cell.want == 0 && ref.in != nil {
				continue // it would change what is there
			}
			cell.mount = view.paths[0]
			cells = append(cells, cell)
			switch {
			case *everyCell:
				for _, cell.mount = range aliases {
					cells = append(cells, cell)
				}
			case turn%3 == 0:
				cell.mount = aliases[turn/3%len(aliases)]
				cells = append(cells, cell)
			}
		}
	}
	return cells
}

// readableIn are the members of a view in which a caller may read a reference, and the others.
func readableIn(rules ruleSet, view matrixView, c rightsCaller, ref matrixRef) (readable, hidden []string) {
	for _, m := range view.members {
		if rules.mayRead(c, m, ref.pkg.Ref.String()) {
			readable = append(readable, m)
		} else {
			hidden = append(hidden, m)
		}
	}
	return readable, hidden
}

func wantRead(c rightsCaller, readable []string, ref matrixRef) int {
	switch {
	case c.bad, len(readable) == 0 && c.user == nobody:
		return http.StatusUnauthorized
	case len(readable) == 0:
		return http.StatusForbidden
	case slices.ContainsFunc(readable, func(m string) bool { return slices.Contains(ref.in, m) }):
		return http.StatusOK
	}
	return http.StatusNotFound
}

func wantWrite(rules ruleSet, c rightsCaller, view matrixView, ref matrixRef, method string) int {
	switch {
	case c.bad:
		return http.StatusUnauthorized
	case view.store == "" && method == http.MethodPut:
		return http.StatusBadRequest
	case view.store == "":
		return http.StatusMethodNotAllowed
	case rules.mayWrite(c, view.store, ref.pkg.Ref.String()):
		return 0
	case c.user == nobody:
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// askAll asks several cells at once and says of the first few what is wrong.
func (w *matrixWorld) askAll(t *testing.T, cells []matrixCell) {
	const atOnce, mostErrors = 8, 20
	queue := make(chan matrixCell)
	var workers sync.WaitGroup
	var mu sync.Mutex
	wrong := 0
	for range atOnce {
		workers.Go(func() {
			for cell := range queue {
				err := w.ask(t, cell)
				mu.Lock()
				if err != nil {
					if wrong++; wrong <= mostErrors {
						t.Errorf("%s %s as %s: %v", cell.route.method, cell.mount+cell.route.target, cell.caller.name, err)
					}
				}
				mu.Unlock()
			}
		})
	}
	for _, cell := range cells {
		queue <- cell
	}
	close(queue)
	workers.Wait()
	if wrong > mostErrors {
		t.Errorf("%d of %d answers are wrong", wrong, len(cells))
	}
}

// ask asks one cell. A refusal is the same whether the thing is there or not, and no answer names a
// member that the caller may not read.
func (w *matrixWorld) ask(t *testing.T, cell matrixCell) error {
	r, err := w.try(t, cell.route.method, cell.mount+cell.route.target, cell.caller.who, cell.route.send)
	if err != nil {
		return err
	}
	refused := r.status == http.StatusUnauthorized || r.status == http.StatusForbidden || r.status == http.StatusMethodNotAllowed
	source := r.header.Get("X-Conanproxy-Source")
	switch {
	case cell.want == 0 && (refused || r.status >= http.StatusInternalServerError):
		return fmt.Errorf("%d %s, want the right to be there", r.status, shorten(r.body))
	case cell.want != 0 && r.status != cell.want:
		return fmt.Errorf("%d %s, want %d", r.status, shorten(r.body), cell.want)
	case refused && (strings.Contains(r.body, cell.ref.pkg.RRev) || strings.Contains(r.body, cell.ref.pkg.PackageID)):
		return fmt.Errorf("the refusal tells too much: %s", r.body)
	case refused && (source != "" || r.header.Get("Etag") != "" || r.header.Get("X-Checksum-Sha1") != ""):
		return fmt.Errorf("the refusal has the header %v", r.header)
	case !cell.route.write && slices.ContainsFunc(cell.hidden, func(m string) bool { return strings.Contains(source, m) }):
		return errors.New("its source is " + source)
	}
	return nil
}

// askSearch asks the routes that name no reference.
func (w *matrixWorld) askSearch(t *testing.T, rules ruleSet, view matrixView, c rightsCaller) {
	t.Helper()
	want := []string{}
	for _, ref := range w.refs {
		readable, _ := readableIn(rules, view, c, ref)
		if wantRead(c, readable, ref) == http.StatusOK {
			want = append(want, ref.pkg.Ref.String())
		}
	}
	slices.Sort(want)
	mount := view.paths[0]
	for _, api := range []string{"/v1", "/v2"} {
		w.call(t, http.MethodGet, mount+api+"/ping", c.who).is(t, http.StatusOK)
		login, check := http.StatusUnauthorized, http.StatusUnauthorized
		if strings.HasSuffix(c.name, "by password") {
			login = http.StatusOK
		}
		if !c.bad && (c.user != nobody || rules.someWriter()) {
			check = http.StatusOK
		}
		w.call(t, http.MethodGet, mount+api+"/users/authenticate", c.who).is(t, login)
		w.call(t, http.MethodGet, mount+api+"/users/check_credentials", c.who).is(t, check)
		r := w.call(t, http.MethodGet, mount+api+"/conans/search", c.who)
		if c.bad || !rules.mayFindAny(c.user, view.members) {
			r.is(t, http.StatusUnauthorized)
			continue
		}
		type results struct{ Results []string }
		if got := decode[results](t, r).Results; !slices.Equal(got, want) {
			t.Errorf("%s as %s finds %q, want %q", r.asked, c.name, got, want)
		}
	}
}
