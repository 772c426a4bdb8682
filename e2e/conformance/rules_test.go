package conformance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// TestRules: the first rule whose pattern matches decides, on every API and for reading and writing
// alike.
func TestRules(t *testing.T) {
	t.Parallel()
	rules := []harness.Settings{
		{"pattern": "order/1.0", "users": []string{"bob"}},
		{"pattern": "order/*", "users": []string{"ann"}},
		{"pattern": "shadowed/*@demo/*", "users": []string{"ann"}},
		{"pattern": "*@{user}/*", "users": []string{"?"}},
		{"pattern": "group-{user}/*", "users": []string{"ann", "bob"}},
		{"pattern": "team/*@acme/*", "users": []string{"ann", "bob"}},
		{"pattern": "public/*", "users": []string{"*"}},
		{"pattern": "public/2.0", "users": []string{"ann"}},
		{"pattern": "known/*", "users": []string{"?"}},
		{"pattern": "mixed/*", "users": []string{"ann", "*"}},
		{"pattern": "star*mid*end/1.0", "users": []string{"*"}},
		{"pattern": "exact/1.0@acme/stable", "users": []string{"*"}},
	}
	s := startSite(t, harness.Settings{"auth": harness.Settings{"read": rules, "write": rules}})
	const (
		none = ""
		all  = "nobody ann bob demo"
		some = "ann bob demo"
	)
	for _, tt := range []struct{ ref, may string }{
		{"order/1.0", "bob"},
		{"order/2.0", "ann"},
		{"order/1.0@bob/testing", "ann"}, // the rule of order comes before that of his own name
		{"thing/1.0@bob/testing", "bob"},
		{"thing/1.0@ann/testing", "ann"},
		{"thing/1.0@bobby/testing", none},
		{"thing/1.0@Bob/testing", none},
		{"thing/1.0@xbob/testing", none},
		{"thing/1.0", none}, // nobody owns what has no user
		{"shadowed/1.0@demo/testing", "ann"},
		{"other/1.0@demo/testing", "demo"},
		{"group-ann/1.0", "ann"},
		{"group-bob/1.0", "bob"},
		{"group-demo/1.0", none},
		{"group-/1.0", none},
		{"team/1.0@acme/stable", "ann bob"},
		{"team/1.0", none},
		{"team/1.0@other/stable", none},
		{"public/1.0", all},
		{"public/2.0", all}, // the rule after the first that matches does not count
		{"public/1.0@acme/stable", all},
		{"publicity/1.0", none},
		{"Public/1.0", none},
		{"known/1.0", some},
		{"mixed/1.0", all},
		{"starXmidYend/1.0", all},
		{"starmidend/1.0", all},
		{"starmid/1.0", none},
		{"star1/1.0@mid/end", none},
		{"exact/1.0@acme/stable", all},
		{"exact/1.0@acme/testing", none},
		{"exact/1.0", none},
		{"nothing/1.0", none},
	} {
		t.Run(strings.ReplaceAll(tt.ref, "/", " "), func(t *testing.T) {
			name, owner, owned := strings.Cut(tt.ref, "@")
			path := name + "/_/_"
			if owned {
				path = name + "/" + owner
			}
			for user, caller := range map[string]string{"nobody": nobody, "ann": "ann", "bob": "bob", "demo": "demo"} {
				want := http.StatusNotFound // allowed, and nothing is there
				switch may := strings.Contains(" "+tt.may+" ", " "+user+" "); {
				case !may && caller == nobody:
					want = http.StatusUnauthorized
				case !may:
					want = http.StatusForbidden
				}
				for _, route := range [][2]string{
					{http.MethodGet, "/v1/conans/" + path + "/download_urls"}, {http.MethodGet, "/v2/conans/" + path + "/latest"},
					{http.MethodDelete, "/v1/conans/" + path}, {http.MethodDelete, "/v2/conans/" + path},
				} {
					if r := s.call(t, route[0], route[1], s.as(t, caller)); r.status != want {
						t.Errorf("%s as %s: %d %s, want %d", r.asked, user, r.status, r.body, want)
					}
				}
			}
		})
	}

	t.Run("anonymous uploads where a rule allows them", func(t *testing.T) {
		s.call(t, http.MethodGet, "/v1/users/check_credentials").is(t, http.StatusOK)
		public := conantest.Recipe("public", "3.0", conantest.Conan1())
		s.publish1(t, nobody, public)
		s.publish2(t, nobody, conantest.Package(public))
		s.install1(t, "", nobody, public)
		private := conantest.Recipe("thing", "3.0", conantest.Conan1())
		s.call(t, http.MethodPost, path1(private.Revision)+"/upload_urls", asJSON(sizesOf(private.Files))).refuses(t, http.StatusUnauthorized)
	})
	t.Run("search shows what may be read", func(t *testing.T) {
		s.publish2(t, "bob", conantest.Recipe("thing", "3.0", conantest.Owner("bob", "testing")))
		s.publish2(t, "ann", conantest.Recipe("group-ann", "3.0"))
		for user, want := range map[string][]string{
			nobody: {"public/3.0"},
			"bob":  {"public/3.0", "thing/3.0@bob/testing"},
			"ann":  {"group-ann/3.0", "public/3.0"},
			"demo": {"public/3.0"},
		} {
			for _, api := range []string{"v1", "v2"} {
				for _, query := range []string{"", "?q=%2A%2F3.0%2A"} {
					if diff := cmp.Diff(want, s.found(t, api, query, s.as(t, user))); diff != "" {
						t.Errorf("%s search %q of %q:\n%s", api, query, user, diff)
					}
				}
			}
		}
		s.call(t, http.MethodGet, "/v2/conans/search?q=thing").refuses(t, http.StatusUnauthorized)
	})
}
