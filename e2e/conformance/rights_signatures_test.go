package conformance

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// signedURL is one that ann was given in a view.
type signedURL struct {
	view    matrixView
	ref     matrixRef
	method  string
	rest    string // below the mount: path and signature
	content []byte
}

// signedURLs are those of every file that ann reads in every view, and those of an upload to every
// view that takes one, of a recipe and of a package each.
func (w *matrixWorld) signedURLs(t *testing.T) (all []signedURL) {
	t.Helper()
	for _, view := range matrixViews() {
		mount := view.paths[0]
		add := func(ref matrixRef, method string, urls map[string]string, files map[string][]byte) {
			for name, target := range urls {
				signatureOf(t, target)
				all = append(all, signedURL{view, ref, method, strings.TrimPrefix(target, mount), files[name]})
			}
		}
		for _, ref := range w.refs {
			switch {
			case slices.ContainsFunc(ref.in, func(m string) bool { return slices.Contains(view.members, m) }):
				add(ref, http.MethodGet, w.urls1(t, mount, "ann", ref.recipe.Revision), ref.recipe.Files)
				add(ref, http.MethodGet, w.urls1(t, mount, "ann", ref.pkg.Revision), ref.pkg.Files)
			case ref.in == nil && view.store != "":
				add(ref, http.MethodPut, w.announceAt(t, mount, "ann", ref.recipe), ref.recipe.Files)
			}
			if slices.Contains(ref.in, view.store) { // its recipe is there already
				add(ref, http.MethodPut, w.announceAt(t, mount, "ann", ref.pkg), ref.pkg.Files)
			}
		}
	}
	return all
}

// announceAt is upload_urls of a view.
func (w *matrixWorld) announceAt(t *testing.T, mount, user string, set conantest.Set) map[string]string {
	t.Helper()
	r := w.call(t, http.MethodPost, mount+path1(set.Revision)+"/upload_urls", w.as(t, user), asJSON(sizesOf(set.Files)))
	return decode[map[string]string](t, r)
}

// use sends a request to a signed URL at a path of a view.
func (w *matrixWorld) use(t *testing.T, u signedURL, mount string, who tweak) reply {
	t.Helper()
	if u.method == http.MethodGet {
		return w.call(t, http.MethodGet, mount+u.rest, who)
	}
	return w.call(t, http.MethodPut, mount+u.rest, who, file(u.content))
}

// TestSignaturesOfViews: a signed URL of one view is refused in every other view and store, also
// for callers with rights there, and gives no more than its user may read or write at that moment.
func TestSignaturesOfViews(t *testing.T) {
	t.Parallel()
	w := newMatrixWorld(t)
	team := ruleSet{read: []rule{{"*", []string{"@team"}, nil}}, write: []rule{{"*", []string{"@team"}, nil}},
		groups: map[string][]string{"team": {"ann", "demo"}}}
	w.reload(t, w.with(team))
	urls := w.signedURLs(t)

	t.Run("other views", func(t *testing.T) {
		for i, u := range urls {
			who := w.as(t, []string{nobody, "ann"}[i%2])
			for _, other := range matrixViews() {
				for _, path := range other.paths {
					switch {
					case other.name != u.view.name:
						w.use(t, u, path, who).refuses(t, http.StatusForbidden, "another view")
					case u.method == http.MethodGet:
						if r := w.use(t, u, path, who).is(t, http.StatusOK); r.body != string(u.content) {
							t.Errorf("%s: wrong bytes", r.asked)
						}
					}
				}
			}
		}
	})
	ann := rightsCaller{name: "ann", user: "ann"}
	for _, rules := range ruleSets() {
		t.Run("after a change of the rules: "+rules.name, func(t *testing.T) {
			w.reload(t, w.with(rules))
			for _, u := range urls {
				readable, _ := readableIn(rules, u.view, rightsCaller{user: "ann"}, u.ref)
				want := wantRead(ann, readable, u.ref)
				if u.method == http.MethodPut {
					want = wantWrite(rules, ann, u.view, u.ref, u.method)
				}
				if want == 0 {
					continue // it would store the file
				}
				r := w.use(t, u, u.view.paths[0], w.as(t, nobody)).is(t, want)
				if r.body == string(u.content) != (want == http.StatusOK) {
					t.Errorf("%s: status %d with %q", r.asked, r.status, shorten(r.body))
				}
			}
		})
	}
	t.Run("after the view publishes to another store", func(t *testing.T) {
		moved := w.with(team)
		moved["views"] = []harness.Settings{
			{"name": "team", "members": []string{"release", "dev", "direct"}, "publish": "dev"},
			{"name": "outside", "members": []string{"release", "direct"}},
		}
		w.reload(t, moved)
		for _, u := range urls {
			if u.method == http.MethodPut && u.view.name == "team" {
				w.use(t, u, u.view.paths[0], w.as(t, "ann")).refuses(t, http.StatusForbidden, "another view or store")
			}
		}
	})
	t.Run("where they are valid", func(t *testing.T) {
		w.reload(t, w.with(team))
		for _, u := range urls {
			if u.method == http.MethodPut {
				w.use(t, u, u.view.paths[0], w.as(t, nobody)).is(t, http.StatusOK)
			}
		}
		for _, ref := range w.refs {
			if ref.in == nil {
				w.sameFiles(t, "ann", w.urls1(t, "/r/dev", "ann", ref.recipe.Revision), ref.recipe)
				w.sameFiles(t, "ann", w.urls1(t, "/r/release", "ann", ref.recipe.Revision), ref.recipe)
			}
		}
	})
}
