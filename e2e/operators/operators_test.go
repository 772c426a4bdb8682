package operators

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestPromotionAndTrash: a package is published to dev and installed from the team's view, promoted
// to release and installed from there alone by a user who cannot see dev; removed, restored and
// installed again; the audit names who did it.
func TestPromotionAndTrash(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"stores":    []harness.Settings{{"name": "dev"}, {"name": "release", "overwrite": false}},
		"views":     []harness.Settings{{"name": "team", "members": []string{"release", "dev"}, "publish": "dev"}},
		"upstreams": []harness.Settings{},
		"auth": harness.Settings{
			"read": []harness.Settings{
				{"pattern": "*", "users": []string{"demo", "ann"}, "in": []string{"dev"}},
				{"pattern": "*", "users": []string{"?"}, "in": []string{"release"}},
			},
			"write": []harness.Settings{
				{"pattern": "*", "users": []string{"demo"}, "in": []string{"release"}},
				{"pattern": "*", "users": []string{"demo", "ann"}, "in": []string{"dev"}},
			},
			"admin": []string{"demo"},
		},
	})
	for name, client := range map[string]func(t testing.TB, url string) *e2etest.Client{
		"conan2": e2etest.NewConan2, "conan29": e2etest.NewConan29, "conan1": e2etest.NewConan1Revisions,
	} {
		t.Run(name, func(t *testing.T) { promoteAndRemove(t, proxy, name, client) })
	}
}

// notFound is what each client says of a reference that no remote has.
var notFound = map[string]string{"conan2": "Unable to find", "conan29": "Unable to find", "conan1": "was not found in remote"}

func promoteAndRemove(t *testing.T, proxy *e2etest.Conanproxy, name string, client func(testing.TB, string) *e2etest.Client) {
	ref := "lib-" + name + "/1.0@acme/stable"
	at := func(view, user string) *e2etest.Client { return client(t, proxy.URL("r", view)).As(user, user) }
	ann := at("dev", "ann")
	ann.Create(e2etest.Recipe(t, "lib", `name = "lib"`, `name = "lib-`+name+`"`), "acme/stable")
	ann.Upload("lib-" + name + "/*")
	at("team", "ann").Install(ref)
	bob := at("release", "bob")
	bob.Fails([]string{notFound[name]}, bob.InstallArgs(ref)...)

	demo, developer := e2etest.NewOperator(t, proxy, "demo"), e2etest.NewOperator(t, proxy, "ann")
	developer.Fails(1, "may not write", "promote", "--from", "dev", "--to", "release", ref)
	e2etest.NewOperator(t, proxy, "bob").Fails(2, "was not found", "promote", "--from", "dev", "--to", "release", ref)
	demo.Fails(2, "was not found", "promote", "--from", "dev", "--to", "release", "nothing/1.0")
	demo.Fails(2, "no store", "promote", "--from", "dev", "--to", "moon", ref)
	e2etest.Says(t, demo.Must("promote", "--dry-run", "--from", "dev", "--to", "release", ref), "copied", "nothing was changed")
	bob.Fails([]string{notFound[name]}, bob.InstallArgs(ref)...)
	e2etest.Says(t, demo.Must("promote", "--from", "dev", "--to", "release", ref), "2 revisions, 0 skipped", "(the newest)")
	e2etest.Says(t, demo.Must("promote", "--from", "dev", "--to", "release", ref), "0 revisions, 2 skipped")
	bob.Install(ref)
	e2etest.SameTree(t, "lib-"+name, ann, bob)

	demo.Fails(2, "--yes", "remove", "--in", "release", ref)
	e2etest.Says(t, demo.Must("remove", "--in", "release", "--yes", ref), "removed", ref)
	gone := at("release", "bob")
	gone.Fails([]string{notFound[name]}, gone.InstallArgs(ref)...)
	e2etest.Says(t, demo.Must("trash", "--in", "release"), ref)
	developer.Fails(1, "may not write", "restore", "--in", "release", ref)
	e2etest.Says(t, developer.Must("remove", "--in", "dev", "--yes", ref), "removed")
	e2etest.NewOperator(t, proxy, "bob").Fails(2, "matches nothing", "restore", "--in", "dev", "*/*")
	developer.Must("restore", "--in", "dev", ref)
	e2etest.Says(t, demo.Must("restore", "--in", "release", ref), "2 revisions")
	demo.Fails(2, "was not found", "restore", "--in", "release", ref)
	gone.Install(ref)

	removePackage := []string{"remove", ref + ":*", "-r", "r", "-c"}
	if name == "conan1" {
		removePackage = []string{"remove", ref, "-p", "-r", "r", "-f"}
	}
	alone := at("release", "demo")
	alone.Must(removePackage...)
	missing := at("release", "bob")
	missing.Fails([]string{"Missing"}, missing.InstallArgs(ref)...)
	e2etest.Says(t, demo.Must("restore", "--in", "release", "--dry-run", ref), "1 revisions")
	e2etest.Says(t, demo.Must("restore", "--in", "release", ref), "1 revisions")
	again := at("release", "bob")
	again.Install(ref)
	hideAndShow(t, demo, developer, ref, at)
	developer.Fails(1, "administrators", "usage")
	e2etest.Says(t, demo.Must("usage"), "dev ", "release ", "in the trash")

	developer.Fails(1, "administrators", "audit")
	var lines []struct{ User, Address, Action, Member, Target string }
	if err := json.Unmarshal([]byte(demo.Must("audit", "--json")), &lines); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		if strings.Contains(l.Target, ref) {
			got = append(got, fmt.Sprintf("%s %s %s from %s", l.User, l.Action, l.Member, l.Address))
		}
	}
	e2etest.SameListing(t, []string{
		"demo unhide release from 127.0.0.1", "demo hide release from 127.0.0.1", "demo hide release from 127.0.0.1", "demo publish release from 127.0.0.1",
		"demo restore release from 127.0.0.1", "demo remove release from 127.0.0.1",
		"demo restore release from 127.0.0.1", "ann restore dev from 127.0.0.1", "ann remove dev from 127.0.0.1",
		"demo remove release from 127.0.0.1", "demo promote release from 127.0.0.1", "demo promote release from 127.0.0.1",
		"ann publish dev from 127.0.0.1", "ann publish dev from 127.0.0.1",
	}, got)
}

// hideAndShow hides the newest revision of a release: clients get the one before, and one that
// names the hidden revision shows the reason; then it is shown again.
func hideAndShow(t *testing.T, demo, developer e2etest.Operator, ref string, at func(view, user string) *e2etest.Client) {
	name, _, _ := strings.Cut(ref, "/")
	ann := at("release", "demo")
	ann.Export(e2etest.Recipe(t, "lib", `name = "lib"`, `name = "`+name+`"`, "from conan import", "# bad\nfrom conan import"), "acme/stable")
	ann.Upload(name + "/*")
	const reason = "it breaks the build, use the one before"
	developer.Fails(1, "may not write", "hide", "--in", "release", "--reason", "no", "--yes", ref)
	demo.Fails(2, "reason", "hide", "--in", "release", "--yes", ref)
	out := demo.Must("hide", "--in", "release", "--reason", reason, "--yes", ref)
	_, revision, _ := strings.Cut(out, "#")
	revision, _, _ = strings.Cut(revision, "\n")
	bob := at("release", "bob")
	bob.Install(ref) // of the revision before, which has a package
	pinned := at("release", "bob")
	pinned.Fails([]string{reason}, pinned.InstallArgs(ref+"#"+revision)...)
	e2etest.Says(t, demo.Must("hides"), ref+"#"+revision, reason)
	var lines []struct{ ID int64 }
	if err := json.Unmarshal([]byte(demo.Must("hides", "--json")), &lines); err != nil || len(lines) != 1 {
		t.Fatal(lines, err)
	}
	e2etest.Says(t, demo.Must("hide", "--in", "release", "--reason", reason, "--yes", ref), revision) // again: the same
	demo.Fails(1, reason, "promote", "--from", "release", "--to", "dev", ref+"#"+revision)
	e2etest.SilentAbout(t, demo.Must("promote", "--from", "release", "--to", "dev", "--dry-run", ref+"#*"), revision)
	e2etest.Says(t, demo.Must("remove", "--in", "release", "--dry-run", ref+"#"+revision), revision+": hidden: "+reason)
	id := fmt.Sprint(lines[0].ID)
	developer.Fails(2, "not found", "unhide", id)
	e2etest.Says(t, demo.Must("unhide", id), "shown", revision)
	demo.Fails(2, "not found", "unhide", id)
	bare := at("release", "bob")
	bare.Fails([]string{"Missing"}, bare.InstallArgs(ref)...) // the newest revision is there again, and has no package
}
