package harness

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// requirements pin what pip installs, with hashes.
//
//go:embed requirements/*.txt
var requirements embed.FS

// The environments that Venv can make, named after their files in requirements/.
const (
	// Conan1 holds the Conan 1.66 client and the conan_server of the same package.
	Conan1 = "conan1"
	// Conan2 holds the newest Conan 2 client.
	Conan2 = "conan2"
	// Conan29 holds a Conan 2.9 client.
	Conan29 = "conan29"
	// Server2 holds the newest conan_server of the 2.x line.
	Server2 = "server2"
	// Schemathesis holds a tester of APIs against their OpenAPI documents.
	Schemathesis = "schemathesis"
)

// ErrNoPython means that no usable Python from 3.8 to 3.12 is in PATH (conan_server's web framework
// ends there).
var ErrNoPython = errors.New("no Python from 3.8 to 3.12 with the venv module in PATH")

// Venv returns the folder of the programs of one environment, for example ".../bin" with "conan" in
// it. The environment is made on the first call, under root/.e2e/venvs, from requirements/NAME.txt;
// a file lock makes concurrent processes wait for one installation. Errors: ErrNoPython, or what
// pip said.
func Venv(ctx context.Context, root, name string) (string, error) {
	wanted, err := requirements.ReadFile("requirements/" + name + ".txt")
	if err != nil {
		return "", fmt.Errorf("environment %s: %w", name, err)
	}
	sum := sha256.Sum256(wanted)
	dir := filepath.Join(root, ".e2e", "venvs", name+"-"+hex.EncodeToString(sum[:6]))
	err = MakeOnce(dir, func() error {
		defer Waiting("for pip to install %s", name)()
		return install(ctx, dir, wanted)
	})
	if err != nil {
		return "", fmt.Errorf("environment %s: %w", name, err)
	}
	return filepath.Join(dir, "bin"), nil
}

// install makes the environment in dir.
func install(ctx context.Context, dir string, wanted []byte) error {
	python, err := findPython(ctx)
	if err != nil {
		return err
	}
	if err := run(ctx, python, "-m", "venv", dir); err != nil {
		return err
	}
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, wanted, 0o644); err != nil {
		return err
	}
	pip := filepath.Join(dir, "bin", "python")
	return run(ctx, pip, "-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "-r", list)
}

// findPython returns the first Python from 3.8 to 3.12 that can make virtual environments.
func findPython(ctx context.Context) (string, error) {
	const probe = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])"
	for _, name := range []string{"python3.11", "python3.12", "python3.10", "python3.9", "python3.8", "python3", "python"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "-c", probe).Output()
		if err != nil {
			continue
		}
		major, minor, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		n, err := strconv.Atoi(minor)
		if major == "3" && err == nil && n >= 8 && n <= 12 {
			return path, nil
		}
	}
	return "", ErrNoPython
}

// run runs one command; its error carries the last lines of what it said.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, LastBytes(string(out), 400))
	}
	return nil
}
