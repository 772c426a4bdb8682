package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain lets more tests run at once than there are cores: they wait for other processes most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

// repoRoot returns the folder of go.mod.
func repoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the tests")
		}
		dir = parent
	}
}

// required reports whether a missing client, server or tool is a failure and not a skip. The variable is not named
// CONANPROXY_…: the program refuses those that it does not know.
func required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("E2E_CLIENTS") == "required"
}

// missing ends the test: skipped on a developer's machine, failed where everything is required.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if required() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// programs returns the program folder of one environment of Venv.
func programs(t testing.TB, name string) string {
	t.Helper()
	root, err := repoRoot()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin, err := Venv(ctx, root, name)
	if err != nil {
		missing(t, "real clients are not available: %v", err)
	}
	return bin
}

// binary is the conanproxy program, built once per run of the tests.
var binary = sync.OnceValues(func() (string, error) {
	root, err := repoRoot()
	if err != nil {
		return "", err
	}
	if err := readSources(root); err != nil {
		return "", err
	}
	path := filepath.Join(root, ".e2e", "bin", "conanproxy")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/conanproxy")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build conanproxy: %w\n%s", err, out)
	}
	return path, nil
})

// readSources opens every source file of the program, so that the test cache knows what these tests depend on.
func readSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "e2e") {
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
