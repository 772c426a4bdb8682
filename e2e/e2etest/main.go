// Package e2etest has what the end-to-end tests share: the built program, real clients and servers,
// and recorders between them, whose failures end the test. Only tests import it.
package e2etest

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/harness"
)

// folder holds everything that these tests write.
var folder *harness.Folder

// Main is what TestMain of each package calls. Temporary files go away with the process even if it
// is killed, and a line a minute says what is waited for. More tests run at once than there are
// cores: they wait for other processes most of the time.
func Main(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	var err error
	if folder, err = harness.NewFolder("conanproxy-e2e"); err == nil {
		err = os.Setenv("TMPDIR", folder.Path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	stop := harness.ReportWaits(os.Stderr, "e2e", time.Minute)
	code := m.Run()
	stop()
	if err := folder.Remove(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	os.Exit(code)
}

// Root is the folder of go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// required reports whether a missing client, server or tool is a failure and not a skip. The
// variable is not named CONANPROXY_…: the program refuses those that it does not know.
func required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("E2E_CLIENTS") == "required"
}

// Missing ends the test: skipped on a developer's machine, failed where everything is required.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if required() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// programs returns the program folder of one environment of Venv.
func programs(t testing.TB, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin, err := harness.Venv(ctx, Root(t), name)
	if err != nil {
		Missing(t, "real clients are not available: %v", err)
	}
	return bin
}

// binary is the conanproxy program, built once per run of the tests.
var binary = sync.OnceValues(func() (string, error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	if err := readSources(root); err != nil {
		return "", err
	}
	path := filepath.Join(folder.Path, "conanproxy")
	return path, harness.Build(context.Background(), root, path)
})

// readSources opens every source file of the program, so that the test cache knows what these tests
// depend on.
func readSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "e2e" || name == "bench") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, "_test.go") || !(strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".sql") || name == "go.mod") {
			return nil
		}
		_, err = os.ReadFile(path)
		return err
	})
}
