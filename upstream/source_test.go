package upstream_test

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/upstream"
)

// flavours are the servers that a Remote must be able to read, each with what it is told about
// them.
var flavours = map[string]struct {
	server   conantest.Options
	protocol string
	slash    bool // the remote's URL ends with one
}{
	"v2":                        {conantest.Options{API: conantest.V2}, "auto", false},
	"v2 below a path":           {conantest.Options{API: conantest.V2, Prefix: "/artifactory/api/conan/center", UnderscoreRefs: true, Validator: conantest.ETag}, "auto", true},
	"v2 without ranges":         {conantest.Options{API: conantest.V2, Validator: conantest.NoRanges}, "v2", false},
	"v2 behind a login":         {conantest.Options{API: conantest.V2, Users: map[string]string{"me": "s3cret"}, Private: true}, "auto", false},
	"both":                      {conantest.Options{}, "auto", false},
	"v1":                        {conantest.Options{API: conantest.V1}, "auto", false},
	"v1, no header":             {conantest.Options{API: conantest.V1, NoCapabilities: true}, "auto", false},
	"v1, unsigned":              {conantest.Options{API: conantest.V1, Unsigned: true}, "v1", false},
	"v1, relative URLs":         {conantest.Options{API: conantest.V1, FileURLs: conantest.Relative, Prefix: "/conan"}, "v1", true},
	"v1, absolute URLs":         {conantest.Options{API: conantest.V1, FileURLs: conantest.Absolute}, "v1", false},
	"v1, foreign host":          {conantest.Options{API: conantest.V1, FileURLs: conantest.Foreign}, "v1", false},
	"v1 behind a login":         {conantest.Options{API: conantest.V1, Unsigned: true, Users: map[string]string{"me": "s3cret"}, Private: true}, "auto", false},
	"v1 of a server with both":  {conantest.Options{}, "v1", false},
	"v1 of a foreign, by login": {conantest.Options{API: conantest.V1, FileURLs: conantest.Foreign, Users: map[string]string{"me": "s3cret"}, Private: true}, "v1", false},
}

// packages are a recipe with everything, and its binary.
func packages() (recipe, pkg conantest.Set) {
	recipe = conantest.Recipe("zlib", "1.3", conantest.Conan1(), conantest.File("readme.md", "hi"), conantest.RandomSource("big.bin", 300_000))
	return recipe, conantest.Package(recipe, conantest.Conan1(), conantest.Random("lib/libz.a", 500_000))
}

func newRemote(t *testing.T, o upstream.Options) *upstream.Remote {
	t.Helper()
	o.Name = "test"
	o.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} // for servers with a second port
	r, err := upstream.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestSource(t *testing.T) {
	for name, flavour := range flavours {
		t.Run(name, func(t *testing.T) {
			recipe, pkg := packages()
			server := conantest.NewServerWith(t, flavour.server, recipe, pkg)
			o := upstream.Options{URL: server.URL, Protocol: flavour.protocol}
			if flavour.slash {
				o.URL += "/"
			}
			if flavour.server.Users != nil {
				o.Username, o.Password = "me", "s3cret"
			}
			r := newRemote(t, o)
			readSet(t, r, recipe)
			readSet(t, r, pkg)
			checkRevisions(t, r, flavour.server, recipe, pkg)
			list, err := r.Packages(t.Context(), recipe.Revision, false)
			want := []conan.Package{{ID: pkg.PackageID, Info: string(pkg.Files[conan.InfoFile])}}
			if diff := cmp.Diff(want, list); diff != "" || err != nil {
				t.Error(diff, err)
			}
			refs, err := r.Search(t.Context(), conan.Pattern{})
			if diff := cmp.Diff([]conan.Ref{recipe.Ref}, refs); diff != "" || err != nil {
				t.Error(diff, err)
			}
			missing := recipe.Revision
			missing.Version = "1.4"
			if _, err := r.Latest(t.Context(), missing); !errors.Is(err, conan.ErrNotFound) {
				t.Errorf("an unknown recipe: %v", err)
			}
			checkLog(t, server)
		})
	}
}

// readSet asks everything about one revision and compares it with the set.
func readSet(t *testing.T, r *upstream.Remote, set conantest.Set) {
	t.Helper()
	unpinned := set.Revision.With("")
	latest, err := r.Latest(t.Context(), unpinned)
	if err != nil || latest.ID != set.ID() {
		t.Fatalf("latest of %s is %v, %v", unpinned, latest, err)
	}
	snapshot, err := r.Snapshot(t.Context(), set.Revision)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range snapshot {
		names = append(names, f.Name)
		file, err := r.Open(t.Context(), set.Revision, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(file)
		file.Close()
		if string(got) != string(set.Files[f.Name]) || err != nil || file.Size != int64(len(got)) {
			t.Errorf("%s: %d bytes of %d, size %d, %v", f.Name, len(got), len(set.Files[f.Name]), file.Size, err)
		}
		want, _ := set.Snapshot().Find(f.Name)
		if f.MD5 != "" && f.MD5 != want.MD5 || file.MD5 != "" && file.MD5 != want.MD5 {
			t.Errorf("%s: md5 %s and %s, want %s", f.Name, f.MD5, file.MD5, want.MD5)
		}
	}
	if diff := cmp.Diff(set.Names(), names); diff != "" {
		t.Error(diff)
	}
}

// checkLog looks at what must hold for every request.
func checkLog(t *testing.T, server *conantest.Server) {
	t.Helper()
	address := strings.TrimPrefix(server.URL, "http://")
	for _, req := range server.Log() {
		auth := req.Header.Get("Authorization")
		if auth != "" && (!strings.HasPrefix(address, req.Host) || strings.Contains(req.Query, "signature=")) {
			t.Errorf("%s at %s had an Authorization", req, req.Host)
		}
		if agent := req.Header.Get("User-Agent"); agent != "conanproxy" {
			t.Errorf("%s had the User-Agent %q", req, agent)
		}
	}
}

func TestCutTransfers(t *testing.T) {
	for name, flavour := range flavours {
		if flavour.server.Validator == conantest.NoRanges {
			continue
		}
		t.Run(name, func(t *testing.T) {
			recipe, pkg := packages()
			server := conantest.NewServerWith(t, flavour.server, recipe, pkg)
			o := upstream.Options{URL: server.URL, Protocol: flavour.protocol}
			if flavour.slash {
				o.URL += "/"
			}
			if flavour.server.Users != nil {
				o.Username, o.Password = "me", "s3cret"
			}
			end := server.Fault(conantest.Fault{Route: "GET */conan_package.tgz*", Count: 1, Cut: conantest.At(100_000)})
			defer end()
			readSet(t, newRemote(t, o), pkg)
			if n := server.Count("GET */conan_package.tgz*"); n != 2 {
				t.Errorf("the archive was asked for %d times, want 2", n)
			}
		})
	}
}

func TestExpiredSignaturesAndTokens(t *testing.T) {
	recipe, pkg := packages()
	users := map[string]string{"me": "s3cret"}
	server := conantest.NewServerWith(t, conantest.Options{API: conantest.V1, Users: users, Private: true}, recipe, pkg)
	r := newRemote(t, upstream.Options{URL: server.URL, Username: "me", Password: "s3cret"})
	readSet(t, r, pkg)
	server.ExpireSignatures()
	readSet(t, r, pkg) // URLs that died within seconds, too, are asked for anew
	server.ExpireTokens()
	if _, err := r.Search(t.Context(), conan.Pattern{}); !errors.Is(err, conan.ErrUnavailable) {
		t.Errorf("a token that died within seconds: %v", err)
	}
}

func TestPublishedAgain(t *testing.T) {
	recipe, pkg := packages()
	server := conantest.NewServer(t, conantest.V1, recipe, pkg)
	r := newRemote(t, upstream.Options{URL: server.URL})
	readSet(t, r, recipe)
	readSet(t, r, pkg)
	next := conantest.Recipe("zlib", "1.3", conantest.Conan1(), conantest.File("readme.md", "ho"), conantest.Published(recipe.Time.AddDate(0, 0, 1)))
	server.Add(next)
	server.Remove(recipe.Revision)
	readSet(t, r, next)
	if _, err := r.Snapshot(t.Context(), recipe.Revision); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("the old recipe revision: %v", err)
	}
	if _, err := r.Open(t.Context(), recipe.Revision, conan.RecipeFile); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a file of the old recipe revision: %v", err)
	}
	if _, err := r.Packages(t.Context(), recipe.Revision, true); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("packages of the old recipe revision: %v", err)
	}
}
