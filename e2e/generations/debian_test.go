package generations

import (
	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// debianLibrary is a real library that the tests package from Debian's -dev package and the runtime
// packages that this one depends on in exactly its own version.
type debianLibrary struct {
	name string
	dev  string
	libs []string
	deps []string
}

// debianLibraries in the order of their dependencies.
var debianLibraries = []debianLibrary{
	{name: "zlib", dev: "zlib1g-dev", libs: []string{"z"}},
	{name: "bzip2", dev: "libbz2-dev", libs: []string{"bz2"}},
	{name: "lz4", dev: "liblz4-dev", libs: []string{"lz4"}},
	{name: "zstd", dev: "libzstd-dev", libs: []string{"zstd"}},
	{name: "libpng", dev: "libpng-dev", libs: []string{"png16"}, deps: []string{"zlib"}},
	{name: "sqlite3", dev: "libsqlite3-dev", libs: []string{"sqlite3"}},
	{name: "openssl", dev: "libssl-dev", libs: []string{"ssl", "crypto"}, deps: []string{"zlib"}},
	{name: "fmt", dev: "libfmt-dev", libs: []string{"fmt"}},
}

// debianTrees fetches and unpacks the libraries once for all tests. It returns the folder with one
// tree per library, NAME/tree, and NAME/version.
var debianTrees = sync.OnceValues(func() (string, error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	for _, tool := range []string{"apt-get", "dpkg-deb", "cc", "c++", "pkg-config"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", err
		}
	}
	base := filepath.Join(root, ".e2e", "debian")
	return base, harness.MakeOnce(base, func() error {
		for _, lib := range debianLibraries {
			if err := fetchLibrary(filepath.Join(base, lib.name), lib.dev); err != nil {
				return fmt.Errorf("%s: %w", lib.name, err)
			}
		}
		return nil
	})
})

// fetchLibrary downloads one -dev package and its runtime packages and makes one tree of them.
func fetchLibrary(dir, dev string) error {
	raw := filepath.Join(dir, "raw")
	if err := os.MkdirAll(raw, 0o755); err != nil {
		return err
	}
	deb, err := fetchDeb(dir, dev)
	if err != nil {
		return err
	}
	debs := []string{deb}
	depends, err := exec.Command("dpkg-deb", "--field", deb, "Depends").Output()
	if err != nil {
		return fmt.Errorf("dependencies of %s: %w", dev, err)
	}
	for _, dep := range strings.Split(string(depends), ",") {
		name, version, _ := strings.Cut(strings.TrimSpace(dep), " ")
		if !strings.HasPrefix(version, "(=") {
			continue
		}
		runtimeDeb, err := fetchDeb(dir, name)
		if err != nil {
			return err
		}
		debs = append(debs, runtimeDeb)
	}
	for _, deb := range debs {
		if out, err := exec.Command("dpkg-deb", "--extract", deb, raw).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", deb, err, out)
		}
	}
	version, err := exec.Command("dpkg-deb", "--field", deb, "Version").Output()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte(conanVersion(string(version))), 0o644); err != nil {
		return err
	}
	if err := layOut(raw, filepath.Join(dir, "tree")); err != nil {
		return err
	}
	return os.RemoveAll(raw)
}

// fetchDeb downloads one package file into dir.
func fetchDeb(dir, name string) (string, error) {
	cmd := exec.Command("apt-get", "download", name)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("apt-get download %s: %w: %s", name, err, harness.LastBytes(string(out), 400))
	}
	name, _, _ = strings.Cut(name, ":")
	found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get download %s: found %v", name, found)
	}
	return found[0], nil
}

// conanVersion makes a Conan version of a Debian one: without epoch and Debian's revision.
func conanVersion(debian string) string {
	version := strings.TrimSpace(debian)
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	if i := strings.LastIndex(version, "-"); i > 0 {
		version = version[:i]
	}
	return strings.ReplaceAll(version, "~", ".")
}

// layOut moves what Debian spreads over /usr and its architecture folders to include, lib and
// licenses, as Conan packages have it.
func layOut(raw, tree string) error {
	var triplet string
	for _, dir := range []string{"usr/lib", "lib"} {
		found, err := filepath.Glob(filepath.Join(raw, dir, "*-linux-gnu*"))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			triplet = filepath.Base(found[0])
		}
	}
	for _, move := range [][2]string{
		{"usr/include/" + triplet, "include"},
		{"usr/include", "include"},
		{"usr/lib/" + triplet, "lib"},
		{"lib/" + triplet, "lib"},
		{"usr/share/doc", "licenses"},
	} {
		if err := moveTree(filepath.Join(raw, move[0]), filepath.Join(tree, move[1])); err != nil {
			return err
		}
	}
	return nil
}

// moveTree moves the members of one folder into another; absolute symlinks become links to the same
// name beside them, since every library lies in one folder now.
func moveTree(from, to string) error {
	entries, err := os.ReadDir(from)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		source, target := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		if entry.IsDir() {
			if err := moveTree(source, target); err != nil {
				return err
			}
			continue
		}
		if link, err := os.Readlink(source); err == nil && filepath.IsAbs(link) {
			if err := os.Symlink(filepath.Base(link), target); err != nil {
				return err
			}
			continue
		}
		if err := os.Rename(source, target); err != nil {
			return err
		}
	}
	return nil
}

// packageDebian puts all libraries into a client's cache and returns their references.
func packageDebian(t testing.TB, c *e2etest.Client) []string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		e2etest.Missing(t, "the profile of the tests is for x86_64")
	}
	base, err := debianTrees()
	if err != nil {
		e2etest.Missing(t, "real libraries are not available: %v", err)
	}
	refs := map[string]string{}
	var out []string
	for _, lib := range debianLibraries {
		version, err := os.ReadFile(filepath.Join(base, lib.name, "version"))
		if err != nil {
			t.Fatal(err)
		}
		ref := lib.name + "/" + string(version)
		var deps []string
		for _, dep := range lib.deps {
			deps = append(deps, refs[dep])
		}
		dir := t.TempDir()
		text, err := os.ReadFile(filepath.Join(e2etest.Root(t), "e2e", "testdata", "debian", "conanfile.py"))
		if err != nil {
			t.Fatal(err)
		}
		conanfile := strings.NewReplacer("NAME", lib.name, "VERSION", string(version),
			"DEPENDENCIES", pythonList(deps), "LIBRARIES", pythonList(lib.libs)).Replace(string(text))
		if err := os.WriteFile(filepath.Join(dir, "conanfile.py"), []byte(conanfile), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(base, lib.name, "tree"), filepath.Join(dir, "tree")); err != nil {
			t.Fatal(err)
		}
		if c.Two {
			c.Must("export-pkg", dir)
		} else {
			c.Must("export-pkg", dir, ref+"@")
		}
		refs[lib.name] = ref
		out = append(out, ref)
	}
	return out
}

func pythonList(items []string) string {
	if len(items) == 0 {
		return "[]"
	}
	return `["` + strings.Join(items, `", "`) + `"]`
}

// buildAndRun installs the references with the client from its remote "r" and compiles, links and
// runs programs against what was installed: C with the shared libraries, C with the static
// archives, C++.
func buildAndRun(t testing.TB, c *e2etest.Client, refs []string) {
	t.Helper()
	dir := t.TempDir()
	consumer := "[requires]\n" + strings.Join(refs, "\n") + "\n[generators]\nPkgConfigDeps\n"
	if err := os.WriteFile(filepath.Join(dir, "conanfile.txt"), []byte(consumer), 0o644); err != nil {
		t.Fatal(err)
	}
	if c.Two {
		c.Must("install", dir, "-r", "r", "-of", dir)
	} else {
		c.Must("install", dir, "-r", "r", "-if", dir)
	}
	source := func(name string) string { return filepath.Join(e2etest.Root(t), "e2e", "testdata", "debian", name) }
	const said = "42 ba7816bf\n"
	cLibs := []string{"zlib", "bzip2", "lz4", "zstd", "libpng", "sqlite3", "openssl"}

	shared := filepath.Join(dir, "shared")
	compile(t, dir, "cc", cLibs, "-o", shared, source("main.c"))
	if got := runLinked(t, dir, c.Home, cLibs, shared); got != said {
		t.Errorf("C program with shared libraries printed %q, want %q", got, said)
	}
	static := filepath.Join(dir, "static")
	compile(t, dir, "cc", cLibs, "-o", static, source("main.c"), "-Wl,-Bstatic", "@libs", "-Wl,-Bdynamic", "-lm", "-lpthread", "-ldl")
	if got := execute(t, nil, static); got != said {
		t.Errorf("C program with static archives printed %q, want %q", got, said)
	}
	plus := filepath.Join(dir, "plus")
	compile(t, dir, "c++", []string{"fmt"}, "-o", plus, source("main.cpp"))
	if got := runLinked(t, dir, c.Home, []string{"fmt"}, plus); got != said {
		t.Errorf("C++ program printed %q, want %q", got, said)
	}
}

// compile calls a compiler with the flags that pkg-config finds in dir; the libraries stand where
// "@libs" is, else at the end.
func compile(t testing.TB, dir, compiler string, libs []string, args ...string) {
	t.Helper()
	flags := strings.Fields(pkgConfig(t, dir, "--cflags", libs))
	link := strings.Fields(pkgConfig(t, dir, "--libs", libs))
	placed := false
	for _, arg := range args {
		if arg == "@libs" {
			flags = append(flags, link...)
			placed = true
			continue
		}
		flags = append(flags, arg)
	}
	if !placed {
		flags = append(flags, link...)
	}
	execute(t, nil, compiler, flags...)
}

// runLinked runs a program with the installed shared libraries, after a look that they are the ones
// it uses.
func runLinked(t testing.TB, dir, home string, libs []string, program string) string {
	t.Helper()
	var paths []string
	for _, flag := range strings.Fields(pkgConfig(t, dir, "--libs-only-L", libs)) {
		paths = append(paths, strings.Trim(strings.TrimPrefix(flag, "-L"), `"`))
	}
	env := append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(paths, ":"))
	resolved := execute(t, env, "ldd", program)
	if n := strings.Count(resolved, home); n < len(libs) {
		t.Errorf("program uses %d installed libraries, want at least %d:\n%s", n, len(libs), resolved)
	}
	return execute(t, env, program)
}

func pkgConfig(t testing.TB, dir, what string, libs []string) string {
	t.Helper()
	env := append(os.Environ(), "PKG_CONFIG_PATH="+dir, "PKG_CONFIG_LIBDIR="+dir)
	return execute(t, env, "pkg-config", append([]string{what}, libs...)...)
}

// execute runs a program and returns its standard output.
func execute(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = env
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, harness.LastBytes(stderr.String(), 3000))
	}
	return string(out)
}
