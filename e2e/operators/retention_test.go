package operators

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// TestRetentionBesideClients: retention runs all the time while one client publishes and another
// one installs. No client fails; what is used, what a lockfile names and what is hidden stays, and
// what is not goes to the trash.
func TestRetentionBesideClients(t *testing.T) {
	t.Parallel()
	const unusedFor = 40 * time.Second // many times what an installation takes
	proxy := e2etest.StartConanproxy(t, harness.Settings{
		"stores": []harness.Settings{{"name": "dev", "retention": harness.Settings{
			"rules": []harness.Settings{{"pattern": "new/*", "keep_recipe_revisions": 2}, {"pattern": "*", "unused_for": unusedFor.String()}},
			"roots": []string{"locks/*.lock"},
		}}},
		"upstreams": []harness.Settings{},
		"auth":      harness.Settings{"admin": []string{"demo"}},
	})
	recipe := func(name, more string) string {
		return e2etest.Recipe(t, "lib", `name = "lib"`, `name = "`+name+`"`, "from conan import", more+"\nfrom conan import")
	}
	demo, publisher := e2etest.NewOperator(t, proxy, "demo"), e2etest.NewConan2(t, proxy.URL("r", "dev")).As("ann", "ann")
	for _, name := range []string{"used", "rooted"} {
		publisher.Create(recipe(name, ""), "acme/stable")
	}
	for _, name := range []string{"unused", "bad"} {
		publisher.Export(recipe(name, ""), "acme/stable")
	}
	publisher.Upload("*")
	demo.Must("hide", "--in", "dev", "--reason", "it crashes", "--yes", "bad/1.0@acme/stable")
	lock := filepath.Join(proxy.Dir, "locks", "app.lock")
	refusedRuns(t, proxy, demo, lock)
	locked := publisher.Fresh(t)
	locked.Must("lock", "create", "--requires=rooted/1.0@acme/stable", "--lockfile-out", lock, "-r", "r")

	retainBesideClients(t, demo, publisher, recipe)
	kept := demo.Must("retention", "--in", "dev")
	e2etest.Says(t, kept, "bad/1.0@acme/stable#", ": hidden: it crashes", ": rooted by "+lock, "dry run, nothing was changed")
	e2etest.SilentAbout(t, kept, "used/1.0")
	publisher.Fresh(t).Install("used/1.0@acme/stable")
	locked.Install("rooted/1.0@acme/stable", "--lockfile", lock)
	e2etest.Says(t, demo.Must("trash", "--in", "dev"), "unused/1.0@acme/stable#")
	sameRunAsDry(t, demo, publisher, recipe)
	e2etest.Says(t, demo.Must("audit", "--action", "retention"), "demo", "unused/1.0@acme/stable#")
}

// refusedRuns: without rights or roots nothing runs.
func refusedRuns(t *testing.T, proxy *e2etest.Conanproxy, demo e2etest.Operator, lock string) {
	e2etest.NewOperator(t, proxy, "ann").Fails(1, "administrators", "retention", "--in", "dev")
	demo.Fails(2, "matches no file", "retention", "--in", "dev")
	demo.Fails(2, "no store", "retention", "--in", "moon")
	if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, []byte(`{"version": "0.5", "requ`), 0o600); err != nil {
		t.Fatal(err)
	}
	demo.Fails(2, lock, "retention", "--in", "dev", "--run", "--yes")
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
}

// retainBesideClients runs retention until it has removed what is not used, while clients work.
func retainBesideClients(t *testing.T, demo e2etest.Operator, publisher *e2etest.Client, recipe func(name, more string) string) {
	done := make(chan struct{})
	var clients sync.WaitGroup
	beside := func(work func(n int) (string, bool)) {
		clients.Go(func() {
			for n := 0; ; n++ {
				if out, ok := work(n); !ok {
					t.Errorf("a client failed beside retention:\n%s", out)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	uploader, installer := publisher.Fresh(t), publisher.Fresh(t)
	dirs := []string{recipe("new", "# 0"), recipe("new", "# 1"), recipe("new", "# 2"), recipe("new", "# 3")}
	beside(func(n int) (string, bool) {
		if out, ok := uploader.Try("export", dirs[n%len(dirs)], "--user", "acme", "--channel", "stable"); !ok {
			return out, false
		}
		return uploader.Try(uploader.UploadArgs("new/*", "r", "--force")...)
	})
	beside(func(int) (string, bool) {
		if out, ok := installer.Try(installer.InstallArgs("used/1.0@acme/stable")...); !ok {
			return out, false
		}
		return installer.Try("remove", "used/*", "-c")
	})
	var all strings.Builder
	e2etest.WaitFor(t, 5*time.Minute, func() bool {
		out, code := demo.Run("retention", "--in", "dev", "--run", "--yes")
		if code != 0 {
			t.Errorf("a run failed beside clients:\n%s", out)
			return true
		}
		all.WriteString(out)
		return strings.Contains(out, "removed  unused/1.0@acme/stable#")
	})
	close(done)
	clients.Wait()
	e2etest.Says(t, all.String(), "newest recipe revision, rule 1 keeps 2", ", rule 2")
	e2etest.SilentAbout(t, all.String(), "removed  used/", "removed  rooted/", "removed  bad/")
}

// sameRunAsDry: a run does what the dry run told.
func sameRunAsDry(t *testing.T, demo e2etest.Operator, publisher *e2etest.Client, recipe func(name, more string) string) {
	for i := range 3 {
		publisher.Export(recipe("new", fmt.Sprint("# again ", i)), "acme/stable")
	}
	publisher.Upload("new/*#*")
	removed := func(args ...string) (list []string) {
		var report struct {
			Revisions []struct{ Revision, Outcome string }
		}
		if err := json.Unmarshal([]byte(demo.Must(append([]string{"retention", "--in", "dev", "--json"}, args...)...)), &report); err != nil {
			t.Fatal(err)
		}
		for _, r := range report.Revisions {
			if r.Outcome == "removed" && strings.HasPrefix(r.Revision, "new/") {
				list = append(list, r.Revision)
			}
		}
		return list
	}
	would := removed()
	if did := removed("--run", "--yes"); len(would) == 0 || !slices.Equal(would, did) {
		t.Errorf("the run removed %q, the dry run told %q", did, would)
	}
	if again := removed(); len(again) != 0 {
		t.Errorf("a second run would remove %q", again)
	}
}
