package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
)

// organisation is a server with three stores, views and rules that change, and users. Beside it are
// maps that follow the documentation: the model. All requests go through the HTTP handler.
type organisation struct {
	dirs   string // of data directories; the last is in use
	opened int
	cfg    *config.Config
	s      *server
	tokens map[string]string // by user; "" is the anonymous caller

	run  int // number of the sequence
	sets map[conan.Revision]conantest.Set
	revs []conan.Revision // recipes before packages

	views map[string][]string // the members of each, in order
	may   map[string][]string // the stores that each caller may read; demo reads all and writes
	clock int                 // of publications
	live  map[string]map[conan.Revision]int
	trash map[string][]map[conan.Revision]int // of each removal, the oldest first
	hides map[orgHide]bool
}

// orgHide is one hide.
type orgHide struct {
	member, view string
	rev          conan.Revision
}

var orgStores = []string{"dev", "test", "release"}

// orgCallers are asked for by the rules; demo reads all and writes.
var orgCallers = []string{"", "ann"}

func newOrganisation(t *testing.T) *organisation {
	o := &organisation{dirs: t.TempDir(), tokens: map[string]string{"": ""}}
	users := filepath.Join(t.TempDir(), "users")
	var lines strings.Builder
	for _, user := range []string{"demo", "ann"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(user), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", user, hash)
	}
	writeFile(t, users, lines.String())
	o.cfg = testConfig(t)
	o.cfg.DataDir = filepath.Join(o.dirs, "0")
	o.cfg.Auth.HtpasswdFile, o.cfg.Auth.Admin = users, []string{"demo"}
	o.cfg.Auth.Write = []config.Rule{{Pattern: "*", Users: []string{"demo"}}}
	o.cfg.Stores = nil
	for _, name := range orgStores {
		o.cfg.Stores = append(o.cfg.Stores, config.Store{Name: name, Owns: []string{}, Overwrite: true, TrashFor: 1 << 50,
			Retention: config.Retention{Rules: []config.RetentionRule{{Pattern: "*", KeepRecipeRevisions: 1}}}})
	}
	o.setViews(orgStores, orgStores)
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.s.close() })
	for _, user := range []string{"demo", "ann"} {
		req := httptest.NewRequest(http.MethodGet, "/v2/users/authenticate", nil)
		req.SetBasicAuth(user, user)
		rec := httptest.NewRecorder()
		o.s.http.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK {
			t.Fatalf("login: %d %s", rec.Code, rec.Body)
		}
		o.tokens[user] = rec.Body.String()
	}
	return o
}

// open starts the server with the rules in force.
func (o *organisation) open() (err error) {
	o.withRules()
	o.s, err = newServer(context.Background(), o.cfg, quiet())
	return err
}

func (o *organisation) withRules() {
	o.cfg = changedConfig(o.cfg, func(c *config.Config) {
		c.Auth.Read = []config.Rule{{Pattern: "*", Users: []string{"demo"}, In: []string{}}}
		for _, store := range orgStores {
			users := []string{"demo"}
			for _, user := range orgCallers {
				switch {
				case !slices.Contains(o.may[user], store):
				case user == "":
					users = append(users, "*")
				default:
					users = append(users, user)
				}
			}
			c.Auth.Read = append([]config.Rule{{Pattern: "*", Users: users, In: []string{store}}}, c.Auth.Read...)
		}
	})
}

// setViews configures two views beside those of the stores.
func (o *organisation) setViews(team, ci []string) {
	o.views = map[string][]string{"team": team, "ci": ci}
	o.cfg = changedConfig(o.cfg, func(c *config.Config) {
		c.Views = []config.View{{Name: "team", Members: team}, {Name: "ci", Members: ci}}
	})
	for _, store := range orgStores {
		o.views[store] = []string{store}
	}
}

// drawMembers are some of the stores, in some order.
func drawMembers(t *rapid.T, view string) []string {
	return rapid.Permutation(orgStores).Draw(t, view)[:rapid.IntRange(1, len(orgStores)).Draw(t, "members of "+view)]
}

// begin forgets the model, and takes other views and another reference.
func (o *organisation) begin(t *rapid.T) {
	o.setViews(drawMembers(t, "team"), drawMembers(t, "ci"))
	o.changeRules(t)
	o.run++
	recipes := []conantest.Set{}
	ref := fmt.Sprintf("lib%06d", o.run)
	o.sets, o.revs = map[conan.Revision]conantest.Set{}, nil
	for _, code := range []string{"# one", "# two"} {
		recipes = append(recipes, conantest.Recipe(ref, "1.0", conantest.Code(code)))
	}
	all := slices.Clone(recipes)
	for _, recipe := range recipes {
		for _, os := range []string{"Linux", "Haiku"} {
			all = append(all, conantest.Package(recipe, conantest.Setting("os", os)))
		}
	}
	for _, set := range all {
		o.sets[set.Revision], o.revs = set, append(o.revs, set.Revision)
	}
	o.live, o.trash, o.hides = map[string]map[conan.Revision]int{}, map[string][]map[conan.Revision]int{}, map[orgHide]bool{}
	for _, store := range orgStores {
		o.live[store] = map[conan.Revision]int{}
	}
}

// ask makes a request as a user.
func (o *organisation) ask(user, method, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://x"+path, strings.NewReader(body))
	if token := o.tokens[user]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	o.s.http.ServeHTTP(rec, req)
	return rec
}

// call makes a call of the operators' API as demo, and tells whether it was done.
func (o *organisation) call(t *rapid.T, name string, body any) bool {
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	rec := o.ask("demo", http.MethodPost, "/api/v1/"+name, string(text))
	if rec.Code >= 500 || rec.Code == http.StatusUnauthorized {
		t.Fatalf("%s %s: %d %s", name, text, rec.Code, rec.Body)
	}
	t.Logf("%s %s: %d", name, text, rec.Code)
	return rec.Code == http.StatusOK
}

func only(rev conan.Revision) map[string]any {
	return map[string]any{"patterns": []string{rev.String()}}
}

func (o *organisation) drawRevision(t *rapid.T) conan.Revision {
	return o.revs[rapid.IntRange(0, len(o.revs)-1).Draw(t, "revision")]
}

func drawStore(t *rapid.T, what string) string { return rapid.SampledFrom(orgStores).Draw(t, what) }

// pathOf is the path of a revision of the v2 API.
func pathOf(rev conan.Revision) string {
	path := "/v2/conans/" + rev.Ref.Path() + "/revisions/" + rev.RRev
	if rev.IsPackage() {
		path += "/packages/" + rev.PackageID + "/revisions/" + rev.PRev
	}
	return path
}

func (o *organisation) publish(t *rapid.T) {
	store, rev := drawStore(t, "store"), o.drawRevision(t)
	_, recipe := o.live[store][rev.Recipe()]
	if _, there := o.live[store][rev]; there || rev.IsPackage() && !recipe {
		return
	}
	set := o.sets[rev]
	for _, name := range set.Names() {
		rec := o.ask("demo", http.MethodPut, "/r/"+store+pathOf(rev)+"/files/"+name, string(set.Files[name]))
		if rec.Code != http.StatusOK {
			t.Fatalf("publish %s of %s: %d %s", name, rev, rec.Code, rec.Body)
		}
	}
	t.Logf("published %s in %s", rev, store)
	o.clock++
	o.live[store][rev] = o.clock
}

// promote copies a package with its recipe, or a recipe with its packages that are in sight.
func (o *organisation) promote(t *rapid.T) {
	from, rev := drawStore(t, "from"), o.drawRevision(t)
	to := drawStore(t, "to")
	if from == to {
		return
	}
	_, there := o.live[from][rev]
	want := there && !o.hidden(from, from, rev)
	dry := rapid.Bool().Draw(t, "dry")
	if got := o.call(t, "promote", map[string]any{"from": from, "to": to, "dry_run": dry, "selection": only(rev)}); got != want {
		t.Fatalf("promote %s from %s: done %v, want %v", rev, from, got, want)
	}
	if !want || dry {
		return
	}
	for part, at := range o.live[from] {
		comes := part == rev || part == rev.Recipe() || part.Recipe() == rev && !o.hidden(from, from, part)
		if _, there := o.live[to][part]; comes && !there {
			o.live[to][part] = at
		}
	}
}

func (o *organisation) remove(t *rapid.T) {
	store, rev := drawStore(t, "store"), o.drawRevision(t)
	_, want := o.live[store][rev]
	if got := o.call(t, "remove", map[string]any{"in": store, "selection": only(rev)}); got != want {
		t.Fatalf("remove %s: done %v, want %v", rev, got, want)
	}
	if want {
		o.toTrash(store, rev)
	}
}

// toTrash moves a revision of the model to the trash, a recipe with its packages.
func (o *organisation) toTrash(store string, rev conan.Revision) {
	taken := map[conan.Revision]int{}
	for other, at := range o.live[store] {
		if other == rev || !rev.IsPackage() && other.Recipe() == rev {
			taken[other] = at
			delete(o.live[store], other)
		}
	}
	o.trash[store] = append(o.trash[store], taken)
}

// restore brings a package back, or a recipe with the packages that were removed with it. A recipe
// that was not removed itself brings its removed packages back.
func (o *organisation) restore(t *rapid.T) {
	store, rev := drawStore(t, "store"), o.drawRevision(t)
	revs := []conan.Revision{rev}
	if !rev.IsPackage() && !o.inTrash(store, rev) {
		revs = slices.DeleteFunc(slices.Clone(o.revs), func(pkg conan.Revision) bool {
			return !pkg.IsPackage() || pkg.Recipe() != rev || !o.inTrash(store, pkg)
		})
	}
	back := map[conan.Revision]int{}
	want := len(revs) > 0
	for _, r := range revs {
		want = o.restorable(store, r, back) && want
	}
	if got := o.call(t, "restore", map[string]any{"in": store, "selection": only(rev)}); got != want {
		t.Fatalf("restore %s: done %v, want %v", rev, got, want)
	}
	if !want {
		return
	}
	for other, at := range back {
		o.live[store][other] = at
		for _, removal := range slices.Backward(o.trash[store]) { // of the last that took it
			if _, in := removal[other]; in {
				delete(removal, other)
				break
			}
		}
	}
}

func (o *organisation) inTrash(store string, rev conan.Revision) bool {
	return slices.ContainsFunc(o.trash[store], func(removal map[conan.Revision]int) bool { _, in := removal[rev]; return in })
}

// restorable adds to back what the last removal of a revision took with it. It returns false if a
// part of that exists again, or if the recipe of a package is missing.
func (o *organisation) restorable(store string, rev conan.Revision, back map[conan.Revision]int) bool {
	for _, removal := range slices.Backward(o.trash[store]) {
		if _, in := removal[rev]; !in {
			continue
		}
		for other, at := range removal {
			if other == rev || !rev.IsPackage() && other.Recipe() == rev {
				back[other] = at
			}
		}
		break
	}
	_, recipe := o.live[store][rev.Recipe()]
	for other := range back {
		if _, again := o.live[store][other]; again || rev.IsPackage() && !recipe {
			return false
		}
	}
	return len(back) > 0
}

// retain removes the recipes that are not the newest of a store, with their packages, but for what
// is hidden and recipes of packages that stay.
func (o *organisation) retain(t *rapid.T) {
	store := drawStore(t, "store")
	dry := rapid.Bool().Draw(t, "dry")
	if !o.call(t, "retention", map[string]any{"in": store, "dry_run": dry}) {
		t.Fatal("retention was refused")
	}
	if dry {
		return
	}
	newest, last := "", 0
	for rev, at := range o.live[store] {
		if !rev.IsPackage() && at > last {
			newest, last = rev.RRev, at
		}
	}
	goes := map[conan.Revision]int{}
	for rev, at := range o.live[store] {
		if rev.RRev != newest && !o.hiddenSomewhere(store, rev) {
			goes[rev] = at
		}
	}
	for rev := range o.live[store] {
		if _, gone := goes[rev]; !gone {
			delete(goes, rev.Recipe())
		}
	}
	for rev := range goes {
		delete(o.live[store], rev)
	}
	o.trash[store] = append(o.trash[store], goes)
}

// hiddenSomewhere tells whether a revision of a store is hidden in any view.
func (o *organisation) hiddenSomewhere(store string, rev conan.Revision) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(o.views)), func(view string) bool { return o.hidden(view, store, rev) })
}

func (o *organisation) hide(t *rapid.T) {
	h := orgHide{rev: o.drawRevision(t)}
	from := orgStores
	switch rapid.IntRange(0, 2).Draw(t, "scope") {
	case 0:
		h.member = drawStore(t, "in")
		from = []string{h.member}
	case 1:
		h.view = rapid.SampledFrom(slices.Sorted(maps.Keys(o.views))).Draw(t, "view")
		from = o.views[h.view]
	}
	want := slices.ContainsFunc(from, func(store string) bool { _, there := o.live[store][h.rev]; return there })
	got := o.call(t, "hide", map[string]any{"in": h.member, "view": h.view, "reason": "it is bad", "selection": only(h.rev)})
	if got != want {
		t.Fatalf("hide %v: done %v, want %v", h, got, want)
	}
	if want {
		o.hides[h] = true
	}
}

func (o *organisation) unhide(t *rapid.T) {
	rec := o.ask("demo", http.MethodGet, "/api/v1/hides?limit=1000", "")
	var page struct {
		Lines []struct {
			ID                     int64
			Member, View, Revision string
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || len(page.Lines) != len(o.hides) {
		t.Fatalf("%d hides, want %d: %v %s", len(page.Lines), len(o.hides), err, rec.Body)
	}
	if len(page.Lines) == 0 {
		return
	}
	line := page.Lines[rapid.IntRange(0, len(page.Lines)-1).Draw(t, "hide")]
	if !o.call(t, "unhide", map[string]any{"ids": []int64{line.ID}}) {
		t.Fatalf("unhide %v was not done", line)
	}
	n := len(o.hides)
	maps.DeleteFunc(o.hides, func(h orgHide, _ bool) bool {
		return h.member == line.Member && h.view == line.View && h.rev.String() == line.Revision
	})
	if len(o.hides) != n-1 {
		t.Fatalf("the hide %v is not known to the model", line)
	}
}

func (o *organisation) changeRules(t *rapid.T) {
	o.may = make(map[string][]string)
	for _, user := range orgCallers {
		for _, store := range orgStores {
			if rapid.Bool().Draw(t, user+" reads "+store) {
				o.may[user] = append(o.may[user], store)
			}
		}
	}
	o.withRules()
	reloadWith(o.s, o.cfg)
}

// crash goes on with a copy of the disk of this moment, now and then: the copy takes long.
func (o *organisation) crash(t *rapid.T) {
	if rapid.IntRange(0, 5).Draw(t, "does not crash") > 0 {
		return
	}
	o.opened++
	next := filepath.Join(o.dirs, fmt.Sprint(o.opened))
	if err := os.CopyFS(next, os.DirFS(o.cfg.DataDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(next, "secret"), 0o600); err != nil { // CopyFS lets everybody read the copies
		t.Fatal(err)
	}
	o.moveTo(t, next)
}

// moveTo goes on with another data directory.
func (o *organisation) moveTo(t *rapid.T, next string) {
	o.s.close()
	if err := os.RemoveAll(o.cfg.DataDir); err != nil {
		t.Fatal(err)
	}
	o.cfg = changedConfig(o.cfg, func(c *config.Config) { c.DataDir = next })
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
}

// hidden tells whether a revision of a store is hidden in a view, by itself or with its recipe.
func (o *organisation) hidden(view, store string, rev conan.Revision) bool {
	for h := range o.hides {
		if (h.member == "" || h.member == store) && (h.view == "" || h.view == view) && (h.rev == rev || h.rev == rev.Recipe()) {
			return true
		}
	}
	return false
}

// compare asks as one caller for everything in one view.
func (o *organisation) compare(t *rapid.T) {
	view := rapid.SampledFrom(slices.Sorted(maps.Keys(o.views))).Draw(t, "asked view")
	user := rapid.SampledFrom([]string{"", "ann", "demo"}).Draw(t, "caller")
	readable := o.views[view]
	if user != "demo" {
		readable = slices.DeleteFunc(slices.Clone(readable), func(store string) bool {
			return !slices.Contains(o.may[user], store) && !slices.Contains(o.may[""], store) // "*" is users too
		})
	}
	refused := 0
	switch {
	case len(readable) > 0:
	case user == "":
		refused = http.StatusUnauthorized
	default:
		refused = http.StatusForbidden
	}
	check := func(path string, want int, says string) {
		if refused != 0 {
			want, says = refused, ""
		}
		rec := o.ask(user, http.MethodGet, "/r/"+view+path, "")
		if rec.Code != want || !strings.Contains(rec.Body.String(), says) {
			t.Fatalf("GET /r/%s%s as %q: %d %s, want %d and %q", view, path, user, rec.Code, rec.Body, want, says)
		}
	}
	ref := o.revs[0].Ref
	newest := o.newest(view, readable)
	if newest == "" {
		check("/v2/conans/"+ref.Path()+"/latest", http.StatusNotFound, "")
	} else {
		check("/v2/conans/"+ref.Path()+"/latest", http.StatusOK, `"`+newest+`"`)
	}
	for _, rev := range o.revs {
		want, says := o.expected(view, readable, rev)
		check(pathOf(rev)+"/files", want, says)
	}
}

// newest is the newest recipe revision of the first member that has one in sight.
func (o *organisation) newest(view string, readable []string) (rrev string) {
	for _, store := range readable {
		last := 0
		for rev, at := range o.live[store] {
			if !rev.IsPackage() && !o.hidden(view, store, rev) && at > last {
				rrev, last = rev.RRev, at
			}
		}
		if last > 0 {
			return rrev
		}
	}
	return ""
}

// expected is the answer about the files of a pinned revision: of any member that has it in sight.
// What is hidden is told with its reason, whether it is there or not.
func (o *organisation) expected(view string, readable []string, rev conan.Revision) (status int, says string) {
	status = http.StatusNotFound
	for _, store := range readable {
		_, there := o.live[store][rev]
		switch {
		case o.hidden(view, store, rev):
			status, says = http.StatusFailedDependency, "it is bad"
		case there:
			return http.StatusOK, conan.ManifestFile
		}
	}
	return status, says
}

// TestFaultsOrganisation runs random publications, promotions, removals, restorations, retention,
// hides, rules and crashes, and compares what callers get in views with the model.
// go test ./bench/faults -run Model -full runs thousands.
func TestFaultsOrganisation(t *testing.T) {
	if testing.Short() {
		t.Skip("many durable writes")
	}
	fewChecks(t)
	o := newOrganisation(t)
	rapid.Check(t, func(t *rapid.T) {
		if o.run%20 == 19 { // a copy of a large directory takes long
			o.fresh(t)
		}
		o.begin(t)
		defer o.end(t)
		t.Repeat(map[string]func(*rapid.T){
			"publish": o.publish, "promote": o.promote, "remove": o.remove, "restore": o.restore, "retain": o.retain, "hide": o.hide, "unhide": o.unhide,
			"rules": o.changeRules, "crash": o.crash, "": o.compare,
		})
	})
}

// end shows again what the sequence hid.
func (o *organisation) end(t *rapid.T) {
	for len(o.hides) > 0 {
		rec := o.ask("demo", http.MethodGet, "/api/v1/hides?limit=1000", "")
		var page struct{ Lines []struct{ ID int64 } }
		if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, line := range page.Lines {
			ids = append(ids, line.ID)
		}
		o.call(t, "unhide", map[string]any{"ids": ids})
		o.hides = nil
	}
}

// fresh goes on with an empty data directory but for the secret, so that tokens stay valid.
func (o *organisation) fresh(t *rapid.T) {
	o.opened++
	next := filepath.Join(o.dirs, fmt.Sprint(o.opened))
	if err := os.MkdirAll(next, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := copySecret(o.cfg.DataDir, next); err != nil {
		t.Fatal(err)
	}
	o.moveTo(t, next)
}
