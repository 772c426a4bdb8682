package s3

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

const ref = "lib/1.0@demo/testing"

// loseTier removes the copies of a stopped program.
func loseTier(t *testing.T, p *e2etest.Conanproxy) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(p.Dir, "data", "tier")); err != nil {
		t.Fatal(err)
	}
}

// TestBucket uploads and installs, loses every copy on the disk, and loses the object store.
func TestBucket(t *testing.T) {
	t.Parallel()
	for name, newClient := range map[string]func(testing.TB, string) *e2etest.Client{
		"conan1": e2etest.NewConan1, "conan2": e2etest.NewConan2,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := e2etest.StartS3(t)
			proxy := e2etest.StartConanproxy(t, s3.Settings())
			publisher := newClient(t, proxy.URL()).As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
			publisher.Upload(ref)
			restart := func() { proxy.Stop(); loseTier(t, proxy); proxy.Start() }
			install := func() (requests int) {
				t.Helper()
				before := s3.Relay.Requests("")
				reader := newClient(t, proxy.URL())
				reader.Install(ref)
				e2etest.SameTree(t, "lib", publisher, reader)
				return s3.Relay.Requests("") - before
			}
			if n := install(); n != 0 {
				t.Errorf("an install from the copies made %d requests to the bucket", n)
			}
			restart()
			if n := install(); n == 0 {
				t.Error("an install without copies made no request to the bucket")
			}
			s3.Stop()
			if n := install(); n != 0 {
				t.Errorf("an install from the copies made %d requests to a bucket that is gone", n)
			}
			s3.Start()
			restart()
			s3.Stop()
			out := newClient(t, proxy.URL()).Fails([]string{"503"}, publisher.InstallArgs(ref)...)
			t.Log(harness.LastBytes(out, 500))
			s3.Start()
			install()
		})
	}
}

// TestStart refuses to start on a bucket that is not the right one, with one sentence.
func TestStart(t *testing.T) {
	t.Parallel()
	s3 := e2etest.StartS3(t)
	owner := e2etest.StartConanproxy(t, s3.Settings())
	publisher := e2etest.NewConan2(t, owner.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "header"), "")
	publisher.Upload("header/1.0")
	owner.Stop()
	config := filepath.Join(owner.Dir, "config.yaml")
	fails := func(what, says string, args ...string) {
		t.Helper()
		out, err := exec.Command(owner.Program, append([]string{"serve", "--config", config}, args...)...).CombinedOutput()
		lines := e2etest.Lines(string(out))
		last := lines[max(0, len(lines)-1)]
		if err == nil || !strings.HasPrefix(last, "conanproxy: ") || !strings.Contains(last, says) {
			t.Errorf("%s: %v, it says %q; want one sentence about %q", what, err, last, says)
		}
		if strings.Contains(string(out), harness.S3Secret) {
			t.Errorf("%s: it prints the secret key", what)
		}
	}
	fails("another data_dir", "another installation", "--data-dir", t.TempDir())
	onDisk := e2etest.StartConanproxy(t, nil)
	publisher.Remotes(harness.Remote{Name: "r", URL: onDisk.URL()})
	publisher.Upload("header/1.0")
	onDisk.Stop()
	withDir := func(p, dirOf *e2etest.Conanproxy) []string {
		return []string{"--config", filepath.Join(p.Dir, "config.yaml"), "--data-dir", filepath.Join(dirOf.Dir, "data")}
	}
	fails("a data_dir whose files are in the bucket, without it", "in a bucket", withDir(onDisk, owner)...)
	marker := s3.Server.ObjectFile("conanproxy")
	hide(t, marker, func() {
		fails("a data_dir whose files are on the disk, with a bucket", "on its disk", withDir(owner, onDisk)...)
		fails("a bucket with objects of nobody", "not of this data_dir", "--data-dir", t.TempDir())
		fails("a bucket without the mark", "the object conanproxy is missing")
	})
	s3.Relay.Refuse("", http.StatusForbidden, "RequestTimeTooSkewed")
	fails("a wrong clock", "clock")
	s3.Relay.Refuse("", http.StatusNotFound, "NoSuchBucket")
	fails("no bucket", "does not exist")
	s3.Relay.Fault(nil)
	owner.Start()
}

// hide moves a file away for the time of what.
func hide(t *testing.T, path string, what func()) {
	t.Helper()
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	what()
	if err := os.Rename(away, path); err != nil {
		t.Fatal(err)
	}
}

// TestUpstreamWithoutBucket downloads from an upstream while the bucket takes nothing: clients get
// their packages, which are not stored. Uploads fail until it does.
func TestUpstreamWithoutBucket(t *testing.T) {
	t.Parallel()
	upstream := e2etest.StartConanproxy(t, nil)
	publisher := e2etest.NewConan2(t, upstream.URL()).As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload(ref)
	s3 := e2etest.StartS3(t)
	settings := s3.Settings()
	settings["upstreams"] = []harness.Settings{harness.Upstream("up", upstream.URL(), harness.Settings{"allow_networks": []string{"127.0.0.0/8"}})}
	proxy := e2etest.StartConanproxy(t, settings)
	s3.Relay.Refuse(http.MethodPut, http.StatusServiceUnavailable, "SlowDown")
	for range 2 {
		reader := e2etest.NewConan2(t, proxy.URL())
		reader.Install(ref)
		e2etest.SameTree(t, "lib", publisher, reader)
	}
	uploader := e2etest.NewConan2(t, proxy.URL()).As("demo", "demo")
	uploader.Create(e2etest.Recipe(t, "header"), "")
	uploader.Fails([]string{"409"}, uploader.UploadArgs("header/1.0", "r")...)
	s3.Relay.Fault(nil)
	uploader.Upload("header/1.0")
	proxy.Stop() // it remembers small files
	proxy.Start()
	reader := e2etest.NewConan2(t, proxy.URL())
	reader.Install(ref)
	proxy.Stop()
	loseTier(t, proxy)
	upstream.Stop()
	proxy.Start()
	stored := e2etest.NewConan2(t, proxy.URL())
	stored.Install(ref)
	e2etest.SameTree(t, "lib", publisher, stored)
}
