package upstreams

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// over starts the program over one upstream named "up".
func over(t *testing.T, up *conantest.Server, more ...harness.Settings) *e2etest.Conanproxy {
	t.Helper()
	return e2etest.StartConanproxy(t, harness.Settings{"upstreams": []harness.Settings{harness.Upstream("up", up.URL, more...)}})
}

// marker is what the installed package says.
func marker(c *e2etest.Client) string { return c.CacheTree("zlib")["marker.txt"] }

// versions are an older and a newer revision of zlib/1.0 with a package each.
func versions(options []conantest.Option) (older, newer conantest.Set, all []conantest.Set) {
	recipe := func(code string, at time.Time) conantest.Set {
		return conantest.Recipe("zlib", "1.0", append(options, conantest.Code("# "+code+"\n"), conantest.Published(at))...)
	}
	pkg := func(recipe conantest.Set, text string) conantest.Set {
		return conantest.Package(recipe, append(options, conantest.File("marker.txt", text), conantest.Published(recipe.Time))...)
	}
	older, newer = recipe("older", conantest.DefaultTime), recipe("newer", conantest.DefaultTime.Add(24*time.Hour))
	return older, newer, []conantest.Set{older, pkg(older, "older"), newer, pkg(newer, "newer")}
}

// revisionJSON is a revision as Artifactory writes it.
func revisionJSON(set conantest.Set) string {
	return fmt.Sprintf(`{"revision": %q, "time": %q}`, set.RRev, set.Time.UTC().Format("2006-01-02T15:04:05.000-0700"))
}

// TestAnswersDisagree: a CDN keeps the newest revision and the list of revisions apart. Whichever
// of them is old, clients get the newest revision.
func TestAnswersDisagree(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		for _, stale := range []string{"latest", "revisions"} {
			t.Run(stale+" is old, "+client.name, func(t *testing.T) {
				t.Parallel()
				older, _, all := versions(client.sets)
				up := conantest.NewServerWith(t, conantest.Profiles()["conancenter"], all...)
				body := revisionJSON(older)
				if stale == "revisions" {
					body = `{"revisions": [` + body + `]}`
				}
				up.Fault(conantest.Fault{Route: "*/zlib/1.0/_/_/" + stale, Status: http.StatusOK, ContentType: "application/json", Body: &body})
				c := client.make(t, over(t, up).URL())
				c.Install("zlib/1.0", "-s", "os=Linux")
				if got := marker(c); got != "newer" {
					t.Errorf("the client got the %q package", got)
				}
			})
		}
	}
}

// TestFilesOfAnotherHost: file URLs that lead to another host which wants the login too. The client
// is told which host it is, and also_at lets it have the login.
func TestFilesOfAnotherHost(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			recipe, pkg := library("zlib", client.sets...)
			up := conantest.NewServerWith(t, conantest.Options{
				API: conantest.V1, FileURLs: conantest.Foreign, Unsigned: true, Private: true, Users: map[string]string{"me": "s3cret"},
			}, recipe, pkg)
			login := harness.Settings{"username": "me", "password": "s3cret", "allow_networks": []string{"127.0.0.0/8", "::1/128"}}
			c := client.make(t, over(t, up, login).URL())
			out := c.Fails([]string{"which asks for a login", "also_at"}, c.InstallArgs("zlib/1.0", "-s", "os=Linux")...)
			host := regexp.MustCompile(`its files are at (http://localhost:\d+)`).FindStringSubmatch(out)
			if host == nil {
				t.Fatalf("the client does not name the host:\n%s", out)
			}
			c = client.make(t, over(t, up, login, harness.Settings{"also_at": []string{host[1]}}).URL())
			c.Install("zlib/1.0", "-s", "os=Linux")
			hasMarker(t, c)
		})
	}
}

// repack packs an archive anew as ending: the same members, other bytes.
func repack(t *testing.T, archive []byte, ending string) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var w io.WriteCloser
	if ending == "txz" {
		w, err = xz.NewWriter(&out)
	} else {
		w, err = gzip.NewWriterLevel(&out, gzip.NoCompression)
	}
	if err == nil {
		_, err = io.Copy(w, z)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRepairedArchive: an upstream sends a damaged archive, and is repaired under the same revision
// by an archive that is packed otherwise. Clients get it, although the old list is still fresh.
func TestRepairedArchive(t *testing.T) {
	t.Parallel()
	tests := []struct {
		profile, prefix, ending string
		conan2                  bool // Conan 1 reads tgz only
	}{
		{"artifactory", conan.PackagePrefix, "tgz", false},
		{"artifactory", conan.PackagePrefix, "txz", true},
		{"artifactory", conan.ExportPrefix, "tgz", false},
		{"artifactory 6, v1", conan.PackagePrefix, "tgz", false},
		{"artifactory 6, v1", conan.PackagePrefix, "txz", true},
	}
	for _, test := range tests {
		for _, client := range clients {
			if test.conan2 && client.sets != nil {
				continue
			}
			t.Run(fmt.Sprintf("%s, %s%s, %s", test.profile, test.prefix, test.ending, client.name), func(t *testing.T) {
				t.Parallel()
				recipe := conantest.Recipe("zlib", "1.0", append(client.sets, conantest.File("data.txt", strings.Repeat("data", 100)))...)
				pkg := conantest.Package(recipe, append(client.sets, conantest.File("marker.txt", "from upstream"))...)
				damaged := pkg
				if test.prefix == conan.ExportPrefix {
					damaged = recipe
				}
				name := test.prefix + "tgz"
				repaired := damaged.Without(name).With(test.prefix+test.ending, string(repack(t, damaged.Files[name], test.ending)))
				up := conantest.NewServerWith(t, conantest.Profiles()[test.profile], recipe, pkg)
				end := up.Fault(conantest.Fault{Route: "*/" + name + "*", Flip: conantest.At(20)})
				proxy := over(t, up, harness.Settings{"not_found_for": "100ms", "fresh_for": "1h"})
				c := client.make(t, proxy.URL())
				c.Fails(nil, c.InstallArgs("zlib/1.0", "-s", "os=Linux")...)
				end()
				up.Add(repaired)
				c.Install("zlib/1.0", "-s", "os=Linux")
				hasMarker(t, c)
			})
		}
	}
}

// TestWrongBytesTransfers: of a wrong archive upstream sends at most two copies, however often
// clients try: the second one tells damage on the way from what upstream has.
func TestWrongBytesTransfers(t *testing.T) {
	t.Parallel()
	const size, route = 24 << 20, "GET */conan_package.tgz*"
	for _, client := range clients {
		for _, profile := range []string{"artifactory", "artifactory 6, v1"} {
			t.Run(profile+", "+client.name, func(t *testing.T) {
				t.Parallel()
				recipe := conantest.Recipe("zlib", "1.0", client.sets...)
				pkg := conantest.Package(recipe, append(client.sets, conantest.Random("lib/big.bin", size))...)
				up := conantest.NewServerWith(t, conantest.Profiles()[profile], recipe, pkg)
				up.Fault(conantest.Fault{Route: route, Flip: conantest.At(size / 2)})
				c := client.make(t, over(t, up).URL())
				for range 2 {
					c.Fails(nil, c.InstallArgs("zlib/1.0", "-s", "os=Linux")...)
				}
				var sent int64
				for _, r := range up.Log() {
					if strings.Contains(r.Path, conan.PackagePrefix) {
						sent += r.Sent
					}
				}
				// A third request may be broken off when its header tells that the bytes are the
				// same; the kernel has taken some of its body by then.
				if sent > 2*size+size/2 {
					t.Errorf("upstream sent %d bytes of a file of %d", sent, size)
				}
			})
		}
	}
}

// filesURL is the list of the files of a recipe revision.
func filesURL(proxy *e2etest.Conanproxy, rev conan.Revision) string {
	return proxy.URL("v2/conans", rev.Ref.Path(), "revisions", rev.RRev, "files")
}

// TestDeletedUpstream: what upstream has deleted is not found, also where its list of revisions
// still names it; an archive that is listed and gone is not found either. What is stored here is
// still given to those who name the revision.
func TestDeletedUpstream(t *testing.T) {
	t.Parallel()
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			recipe, pkg := library("zlib", client.sets...)
			gone, gonePkg := library("gone", client.sets...)
			up := conantest.NewServerWith(t, conantest.Profiles()["artifactory"], recipe, pkg, gone, gonePkg)
			up.Fault(conantest.Fault{Route: "*/gone/*/conan_package.tgz", Status: http.StatusNotFound})
			proxy := over(t, up, harness.Settings{"fresh_for": "1ms"})
			first := client.make(t, proxy.URL())
			first.Install("zlib/1.0", "-s", "os=Linux")
			up.Fault(conantest.Fault{Route: "*/zlib/1.0/_/_/latest", Status: http.StatusNotFound})

			second := client.make(t, proxy.URL())
			held := filesURL(proxy, recipe.Revision)
			out := second.Fails(nil, second.InstallArgs("zlib/1.0", "-s", "os=Linux")...)
			if !strings.Contains(out, "not found") && !strings.Contains(out, "Unable to find 'zlib/1.0'") {
				t.Errorf("the client does not say that it is not found:\n%s", out)
			}
			out = second.Fails(nil, second.InstallArgs("gone/1.0", "-s", "os=Linux")...)
			if second.Two && !strings.Contains(out, "not found") || !second.Two && !strings.Contains(out, "not there any more") {
				t.Errorf("a file that is gone is not told as such:\n%s", out)
			}
			for _, name := range recipe.Names() {
				if status, _, body := e2etest.Get(t, held+"/"+name); status != http.StatusOK || body != string(recipe.Files[name]) {
					t.Errorf("%s of the revision that is stored: %d", name, status)
				}
			}
		})
	}
}
