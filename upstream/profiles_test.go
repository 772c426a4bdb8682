package upstream_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/upstream"
)

// Every known server is read with nothing configured but its URL, and a login where it wants one.
func TestProfiles(t *testing.T) {
	for name, o := range conantest.Profiles() {
		for _, private := range []bool{false, true} {
			if private && o.Profile.NoUsersRoutes {
				continue
			}
			t.Run(name+map[bool]string{true: ", with login"}[private], func(t *testing.T) {
				recipe, pkg := packages()
				remote := upstream.Options{}
				if private {
					o.Private, o.Users = true, map[string]string{"me": "s3cret"}
					remote.Username, remote.Password = "me", "s3cret"
				}
				server := conantest.NewServerWith(t, o, recipe, pkg)
				remote.URL = server.URL
				r := newRemote(t, remote)
				readSet(t, r, recipe)
				readSet(t, r, pkg)
				checkRevisions(t, r, o, recipe, pkg)
				list, err := r.Packages(t.Context(), recipe.Revision, false)
				if err != nil || len(list) != 1 || list[0].ID != pkg.PackageID || !strings.Contains(list[0].Info, "os=Linux") {
					t.Errorf("packages %v, %v", list, err)
				}
				found, err := r.Search(t.Context(), mustPattern(t, "zlib/1.3"))
				if diff := cmp.Diff([]conan.Ref{recipe.Ref}, found); diff != "" || err != nil {
					t.Error(diff, err)
				}
				checkUnknown(t, r, recipe)
				checkLog(t, server)
			})
		}
	}
}

func mustPattern(t *testing.T, text string) conan.Pattern {
	t.Helper()
	p, err := conan.ParsePattern(text, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkRevisions: a server without that route has the latest all the same.
func checkRevisions(t *testing.T, r *upstream.Remote, o conantest.Options, sets ...conantest.Set) {
	t.Helper()
	for _, set := range sets {
		list, err := r.Revisions(t.Context(), set.Revision.With(""))
		if o.Profile.NoRevisions {
			if !errors.Is(err, conan.ErrNotFound) {
				t.Errorf("revisions of %s: %v", set, err)
			}
			continue
		}
		latest, latestErr := r.Latest(t.Context(), set.Revision.With(""))
		if diff := cmp.Diff([]conan.RevisionTime{latest}, list); diff != "" || err != nil || latestErr != nil {
			t.Error(diff, err, latestErr)
		}
	}
}

func checkUnknown(t *testing.T, r *upstream.Remote, recipe conantest.Set) {
	t.Helper()
	unknown := recipe.Revision
	unknown.Version = "9.9"
	_, latest := r.Latest(t.Context(), unknown.With(""))
	_, revisions := r.Revisions(t.Context(), unknown.With(""))
	_, files := r.Snapshot(t.Context(), unknown)
	_, open := r.Open(t.Context(), unknown, conan.RecipeFile)
	_, list := r.Packages(t.Context(), unknown, false)
	for question, err := range map[string]error{"latest": latest, "revisions": revisions, "files": files, "open": open, "packages": list} {
		if !errors.Is(err, conan.ErrNotFound) {
			t.Errorf("%s of an unknown recipe: %v", question, err)
		}
	}
}

// The first question may be about something that is not there: the dialect is found all the same.
func TestProfilesBeginWithNotFound(t *testing.T) {
	for name, o := range conantest.Profiles() {
		t.Run(name, func(t *testing.T) {
			recipe, pkg := packages()
			r := newRemote(t, upstream.Options{URL: conantest.NewServerWith(t, o, recipe, pkg).URL})
			checkUnknown(t, r, recipe)
			readSet(t, r, recipe)
		})
	}
}

// A refused thing, however often it is asked, leaves everything else as it is.
func TestOneRefusedThing(t *testing.T) {
	page := conantest.HTML("*/files/conan_export.tgz*")
	faults := map[string]struct {
		fault              conantest.Fault
		want               string
		refused, permanent bool
	}{
		"curation": {conantest.Refused("*/files/conan_export.tgz*"),
			"forbids access (403): Artifact download request rejected: blocked by policy 'no-gpl'", true, true},
		"unknown file name": {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 400, ContentType: "application/json", Body: conantest.Text(`{"error":"file_name does not have a valid value"}`)},
			"refuses it (400): file_name does not have a valid value", true, true},
		"another proxy": {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 424, ContentType: "text/plain", Body: conantest.Text(`upstream "far" is unavailable: it is not asked for a while`)},
			`cannot give it (424): upstream "far" is unavailable: it is not asked for a while`, false, true},
		"legal": {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 451}, "refuses it (451)", true, true},
		"page":  {page, "answered with a web page instead of the file", true, true},
		"page by its bytes": {conantest.Fault{Route: "*/files/conan_export.tgz*", Body: conantest.Text("<!DOCTYPE html><html>blocked</html>")},
			"answered with a web page instead of conan_export.tgz", true, true},
		"500 page":   {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 500, ContentType: "text/html", Body: conantest.Text("<html>error</html>")}, "failed with status 500", true, true},
		"501":        {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 501}, "failed with status 501", true, true},
		"505":        {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 505}, "failed with status 505", true, true},
		"531":        {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 531}, "failed with status 531", true, true},
		"firewall":   {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 403, ContentType: "text/html", Body: conantest.Text("<html>no</html>")}, "forbids access (403)", false, false},
		"JSON error": {conantest.Fault{Route: "*/files/conan_export.tgz*", Status: 500, ContentType: "application/json", Body: conantest.Text(`{"errors":[{"status":500,"message":"Missing section in conaninfo.txt"}]}`)}, "failed with status 500: Missing section in conaninfo.txt", true, true},
	}
	for name, test := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recipe, pkg := packages()
			server := conantest.NewServerWith(t, conantest.Profiles()["artifactory"], recipe, pkg)
			server.Fault(test.fault)
			r := newRemote(t, upstream.Options{URL: server.URL})
			for range 7 {
				_, err := r.Open(t.Context(), recipe.Revision, "conan_export.tgz")
				var u *conan.UnavailableError
				if !errors.As(err, &u) || u.Reason != test.want || u.Refused != test.refused || u.Permanent != test.permanent {
					t.Fatalf("got %#v, want %q, refused %v", err, test.want, test.refused)
				}
			}
			if r.State() != upstream.Closed {
				t.Error("the breaker is open")
			}
			readSet(t, r, pkg)
		})
	}
}

// Pages in the place of several files, with no good file between them, are those of a firewall:
// nothing is refused by them, and they count against the upstream.
func TestBlockPage(t *testing.T) {
	t.Parallel()
	recipe, pkg := packages()
	server := conantest.NewServerWith(t, conantest.Profiles()["artifactory"], recipe, pkg)
	r := newRemote(t, upstream.Options{URL: server.URL})
	refused := func(rev conan.Revision, name string) bool {
		_, err := r.Open(t.Context(), rev, name)
		var u *conan.UnavailableError
		if !errors.As(err, &u) {
			t.Fatalf("%s: %v", name, err)
		}
		return u.Refused
	}
	end := server.Fault(conantest.HTML("*/files/conan*"))
	var got []bool
	for _, name := range []string{"conan_export.tgz", "conan_export.tgz", conan.ManifestFile, conan.RecipeFile, "conan_export.tgz"} {
		got = append(got, refused(recipe.Revision, name))
	}
	if diff := cmp.Diff([]bool{true, true, true, false, false}, got); diff != "" {
		t.Errorf("the page of one file is its refusal, that of many is not:\n%s", diff)
	}
	for r.State() == upstream.Closed && len(got) < 20 {
		got = append(got, refused(recipe.Revision, conan.RecipeFile))
	}
	if len(got) != 5+3 {
		t.Errorf("the breaker opened after %d pages, want 8: five of the firewall", len(got))
	}
	end()

	r = newRemote(t, upstream.Options{URL: server.URL})
	server.Fault(conantest.HTML("*/files/conan_*.tgz"))
	for range 4 { // refused archives with good files between them stay refusals
		if !refused(recipe.Revision, "conan_export.tgz") || !refused(pkg.Revision, "conan_package.tgz") {
			t.Error("a page was taken as that of a firewall")
		}
		if _, err := r.Open(t.Context(), recipe.Revision, conan.RecipeFile); err != nil {
			t.Error(err)
		}
	}
}

// Pages in the place of JSON say nothing of files, and good JSON tells that pages do not come for
// whatever is asked: one file that is refused much later is still refused.
func TestPagesOfFilesOnly(t *testing.T) {
	t.Parallel()
	recipe, pkg := packages()
	server := conantest.NewServerWith(t, conantest.Profiles()["artifactory"], recipe, pkg)
	r := newRemote(t, upstream.Options{URL: server.URL})
	if err := r.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRefused := func(set conantest.Set, name string) {
		t.Helper()
		_, err := r.Open(t.Context(), set.Revision, name)
		var u *conan.UnavailableError
		if !errors.As(err, &u) || !u.Refused {
			t.Errorf("%s: %v, want a refusal of this file", name, err)
		}
	}
	server.Fault(conantest.HTML("*/files/conan*"))
	for route, question := range map[string]func() error{
		"*/revisions": func() error { _, err := r.Revisions(t.Context(), conan.Revision{Ref: recipe.Ref}); return err },
		"*/latest":    func() error { _, err := r.Latest(t.Context(), conan.Revision{Ref: recipe.Ref}); return err },
		"*/files":     func() error { _, err := r.Snapshot(t.Context(), recipe.Revision); return err },
	} {
		end := server.Fault(conantest.HTML(route))
		if err := question(); err == nil || !strings.Contains(err.Error(), "instead of JSON") {
			t.Errorf("a page in the place of JSON: %v", err)
		}
		end()
	}
	wantRefused(recipe, "conan_export.tgz")
	wantRefused(recipe, conan.RecipeFile)
	if _, err := r.Snapshot(t.Context(), recipe.Revision); err != nil {
		t.Fatal(err)
	}
	wantRefused(pkg, "conan_package.tgz")
	wantRefused(pkg, conan.InfoFile)
	if r.State() != upstream.Closed {
		t.Error("the breaker is open")
	}
}

// Package search that fails for Conan 2 binaries takes no installs away.
func TestPackageSearchFails(t *testing.T) {
	t.Parallel()
	recipe, pkg := packages()
	server := conantest.NewServerWith(t, conantest.Profiles()["artifactory"], recipe, pkg)
	server.Fault(conantest.Fault{Route: "*/search?list_only=*", Status: 500, ContentType: "application/json",
		Body: conantest.Text(`{"errors":[{"status":500,"message":"ConanInfoException: Missing section in conaninfo.txt"}]}`)})
	r := newRemote(t, upstream.Options{URL: server.URL})
	for range 6 {
		if _, err := r.Packages(t.Context(), recipe.Revision, false); !errors.Is(err, conan.ErrUnavailable) {
			t.Fatalf("packages: %v", err)
		}
	}
	if r.State() != upstream.Closed {
		t.Error("the breaker is open")
	}
	readSet(t, r, pkg)
}

// Something that is no Conan server has no packages to miss.
func TestNoConanServer(t *testing.T) {
	answers := map[string]conantest.Fault{
		"empty 200":        {Route: "*/ping", Status: 200},
		"404":              {Route: "*/ping", Status: 404},
		"page":             conantest.HTML("*/ping"),
		"200 everywhere":   {Route: "*", Status: 200, ContentType: "application/json", Body: conantest.Text(`{"status":"ok"}`)},
		"lists everywhere": {Route: "*", Status: 200, ContentType: "application/json", Body: conantest.Text(`[]`)},
		"text everywhere":  {Route: "*", Status: 200, ContentType: "text/plain", Body: conantest.Text("ok")},
	}
	for name, fault := range answers {
		t.Run(name, func(t *testing.T) {
			server := conantest.NewServerWith(t, conantest.Options{API: conantest.V2, Prefix: "/artifactory/api/conan/x"})
			server.Fault(fault)
			r := newRemote(t, upstream.Options{URL: strings.TrimSuffix(server.URL, "/api/conan/x")})
			rev := conan.Revision{Ref: conantest.Recipe("zlib", "1.3").Ref}
			for range 3 {
				_, err := r.Latest(t.Context(), rev)
				var u *conan.UnavailableError
				if !errors.As(err, &u) || errors.Is(err, conan.ErrNotFound) {
					t.Fatalf("got %v, want unavailable", err)
				}
				if !u.Permanent || !strings.Contains(u.Reason, "/api/conan/REPOSITORY") {
					t.Errorf("the reason %q does not help", u.Reason)
				}
				if found, err := r.Search(t.Context(), conan.Pattern{}); err == nil {
					t.Errorf("search found %v", found)
				}
			}
			if n := len(server.Log()); n > 12 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// An instance of GitLab announces revisions, but only its projects have them.
func TestGitLabInstance(t *testing.T) {
	recipe, pkg := packages()
	server := conantest.NewServerWith(t, conantest.Profiles()["gitlab, instance"], recipe, pkg)
	r := newRemote(t, upstream.Options{URL: server.URL})
	readSet(t, r, recipe)
	server.ResetLog()
	readSet(t, r, pkg)
	for _, req := range server.Log() {
		if strings.Contains(req.Path, "/v2/") {
			t.Errorf("asked %s", req)
		}
	}
}

// The login goes first where ping says, and never twice with a wrong password.
func TestLoginRoutes(t *testing.T) {
	tests := map[string]struct {
		profile, password, want string
		openPing                bool
	}{
		"v2":                 {"artifactory", "s3cret", "v2", false},
		"v1":                 {"artifactory 6, v1", "s3cret", "v1", true},
		"v1, ping is locked": {"artifactory 6, v1", "s3cret", "v2 v1", false},
		"wrong password":     {"artifactory", "wrong", "v2", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := conantest.Profiles()[test.profile]
			o.Users, o.Private = map[string]string{"me": "s3cret"}, true
			if test.openPing {
				o.Profile.LockedPing = conantest.PingOpen
			}
			recipe, _ := packages()
			server := conantest.NewServerWith(t, o, recipe)
			r := newRemote(t, upstream.Options{URL: server.URL, Username: "me", Password: test.password})
			for range 3 {
				_, err := r.Latest(t.Context(), recipe.Revision.With(""))
				if (err == nil) != (test.password == "s3cret") {
					t.Error(err)
				}
			}
			var routes []string
			for _, req := range server.Log() {
				if strings.HasSuffix(req.Path, "/users/authenticate") {
					routes = append(routes, req.Path[len(req.Path)-len("v2/users/authenticate"):][:2])
				}
			}
			if got := strings.Join(routes, " "); got != test.want {
				t.Errorf("asked %q, want %q", got, test.want)
			}
		})
	}
}

// Files at another host that wants the login too: the host is named, and also_at gives it.
func TestFilesOfAnotherHost(t *testing.T) {
	recipe, pkg := packages()
	server := conantest.NewServerWith(t, conantest.Options{
		API: conantest.V1, FileURLs: conantest.Foreign, Unsigned: true, Private: true, Users: map[string]string{"me": "s3cret"},
	}, recipe, pkg)
	o := upstream.Options{URL: server.URL, Username: "me", Password: "s3cret"}
	_, err := newRemote(t, o).Latest(t.Context(), recipe.Revision.With(""))
	var u *conan.UnavailableError
	if !errors.As(err, &u) || !u.Permanent {
		t.Fatalf("got %#v", err)
	}
	_, rest, ok := strings.Cut(u.Reason, "its files are at http://localhost:")
	port, _, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 || !strings.Contains(rest, "also_at") {
		t.Fatalf("the reason is %q", u.Reason)
	}
	o.AlsoAt = []string{"http://localhost:" + port}
	r := newRemote(t, o)
	readSet(t, r, recipe)
	readSet(t, r, pkg)
	o.AlsoAt = []string{"ftp://x"}
	if _, err := upstream.New(o); err == nil || !strings.Contains(err.Error(), "also_at") {
		t.Errorf("a wrong also_at: %v", err)
	}
}

// The validator tells versions apart without the body.
func TestValidator(t *testing.T) {
	recipe, _ := packages()
	for validator, want := range map[conantest.Validator]bool{conantest.ETag: true, conantest.LastModified: true, conantest.NoValidator: false} {
		server := conantest.NewServerWith(t, conantest.Options{API: conantest.V2, Validator: validator}, recipe)
		file, err := newRemote(t, upstream.Options{URL: server.URL}).Open(t.Context(), recipe.Revision, "conan_export.tgz")
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if (file.Validator != "") != want {
			t.Errorf("validator %v is %q", validator, file.Validator)
		}
	}
}

// One line tells at the first question whether an upstream can be used.
func TestFirstQuestionIsLogged(t *testing.T) {
	recipe, _ := packages()
	up := conantest.NewServer(t, conantest.V2, recipe)
	down := conantest.NewServer(t, conantest.V2)
	down.Stop()
	for url, want := range map[string]string{up.URL: "upstream is reachable", down.URL: "upstream cannot be used"} {
		core, logs := observer.New(zap.InfoLevel)
		r, err := upstream.New(upstream.Options{Name: "x", URL: url, Log: zap.New(core), Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		for range 2 {
			r.Latest(t.Context(), recipe.Revision.With(""))
		}
		if n := logs.FilterMessage(want).Len(); n != 1 || logs.Len() != 1 {
			t.Errorf("%s: %v", want, logs.All())
		}
	}
}

// A redirect into a network that the upstream is not in is not followed.
func TestAllowNetworks(t *testing.T) {
	recipe, pkg := packages()
	server := conantest.NewServerWith(t, conantest.Profiles()["artifactory cloud"], recipe, pkg)
	r, err := upstream.New(upstream.Options{Name: "x", URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	_, err = r.Open(t.Context(), pkg.Revision, "conan_package.tgz")
	var u *conan.UnavailableError
	if !errors.As(err, &u) || !strings.Contains(u.Reason, "allow_networks") || !u.Permanent {
		t.Errorf("another port of this machine: %v", err)
	}
	if r.State() != upstream.Closed {
		t.Error("the breaker is open")
	}
	r, err = upstream.New(upstream.Options{Name: "x", URL: server.URL, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	readSet(t, r, pkg)
	for _, req := range server.Log() {
		if req.Status == http.StatusBadRequest {
			t.Errorf("%s was sent a login", req)
		}
	}
}
