// Package internal keeps the rule of the rooms: which package may know which.
package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "conanproxy"

// room is what one folder of packages may import of this module.
type room struct {
	code  []string // by code and tests
	tests []string // by tests only
}

// rooms is the whole table. A package below a room, like blobtest, belongs to it.
var rooms = map[string]room{
	"internal/conan":       {tests: []string{"internal/conantest"}},
	"internal/blob":        {tests: []string{"internal/conan", "internal/index", "internal/harness"}},
	"internal/memory":      {code: []string{"internal/conan"}},
	"internal/journal":     {code: []string{"internal/conan", "internal/blob"}},
	"internal/index":       {code: []string{"internal/conan", "internal/blob", "internal/memory", "internal/journal", "internal/signal"}, tests: []string{"internal/conantest"}},
	"internal/rebuild":     {code: []string{"internal/conan", "internal/blob", "internal/index", "internal/journal"}, tests: []string{"internal/conantest"}},
	"internal/backup":      {code: []string{"internal/blob", "internal/index", "internal/scrub"}, tests: []string{"internal/conan", "internal/conantest"}},
	"internal/space":       {code: []string{"internal/conan", "internal/blob", "internal/index"}},
	"internal/config":      {code: []string{"internal/conan"}},
	"internal/identity":    {code: []string{"internal/conan"}},
	"internal/netguard":    {},
	"internal/signal":      {},
	"internal/policy":      {code: []string{"internal/conan"}, tests: []string{"internal/conantest"}},
	"internal/selection":   {code: []string{"internal/conan"}, tests: []string{"internal/conantest"}},
	"internal/retention":   {code: []string{"internal/conan", "internal/selection"}},
	"internal/transfer":    {code: []string{"internal/conan", "internal/selection"}, tests: []string{"internal/conantest"}},
	"internal/bundle":      {code: []string{"internal/conan", "internal/transfer"}, tests: []string{"internal/conantest"}},
	"internal/conanserver": {code: []string{"internal/conan"}, tests: []string{"internal/conantest"}},
	"internal/jobs":        {code: []string{"internal/conan", "internal/index", "internal/signal"}},
	"internal/scrub":       {code: []string{"internal/blob", "internal/index"}, tests: []string{"internal/conan", "internal/conantest"}},
	"internal/conantest":   {code: []string{"internal/conan"}},
	"internal/harness":     {},
	"upstream":             {code: []string{"internal/conan", "internal/netguard"}, tests: []string{"internal/conantest"}},
	"cache":                {code: []string{"internal/conan", "internal/blob", "internal/index", "internal/memory", "internal/space"}, tests: []string{"internal/conantest"}},
	"localstore":           {code: []string{"internal/conan", "internal/blob", "internal/index", "internal/memory", "internal/retention", "internal/selection", "internal/transfer"}, tests: []string{"internal/bundle", "internal/conantest"}},
	"proxy/auth":           {code: []string{"internal/conan", "internal/identity"}},
	"proxy/api":            {code: []string{"internal/conan", "internal/bundle", "internal/index", "internal/retention", "internal/selection", "internal/transfer", "proxy/auth", "proxy/resolver"}},
	"proxy/resolver":       {code: []string{"internal/conan", "internal/memory", "internal/policy"}, tests: []string{"internal/conantest"}},
	"proxy": {
		code:  []string{"internal/conan", "internal/memory", "internal/identity", "proxy/api", "proxy/auth", "proxy/resolver"},
		tests: []string{"internal/conantest", "internal/bundle", "internal/index", "internal/jobs", "internal/policy", "internal/retention", "internal/transfer"},
	},
	"e2e":          {code: []string{"internal/harness"}, tests: []string{"internal/conan", "internal/conantest", "internal/selection", "upstream"}},
	"bench":        {code: []string{"internal/conan", "internal/index", "internal/harness"}},
	"bench/faults": {tests: []string{"internal/conan", "internal/conantest", "internal/harness"}},
	"cmd/conanproxy": {
		code: []string{
			"internal/conan", "internal/blob", "internal/memory", "internal/index", "internal/rebuild", "internal/backup",
			"internal/space", "internal/config", "internal/identity", "internal/policy", "internal/scrub",
			"internal/jobs", "internal/retention", "internal/selection", "internal/transfer", "internal/bundle", "internal/conanserver", "upstream", "cache", "localstore", "proxy", "proxy/api", "proxy/auth", "proxy/resolver",
		},
		tests: []string{"internal/conantest"},
	},
}

// libraryRooms lists libraries that only some rooms may know.
var libraryRooms = map[string][]string{
	"github.com/labstack/":       {"proxy", "bench"}, // the benchmark measures the framework alone too
	"github.com/dgraph-io/":      {"proxy"},
	"gonum.org/":                 {"bench"},
	"modernc.org/sqlite":         {"internal/index"},
	"github.com/pressly/goose/":  {"internal/index"},
	"github.com/golang-jwt/":     {"proxy/auth", "internal/identity"},
	"github.com/minio/":          {"internal/blob"},
	"github.com/spf13/":          {"cmd/conanproxy"},
	"aead.dev/minisign":          {"internal/bundle"},
	"go.yaml.in/yaml/":           {"internal/config", "internal/harness"},
	"github.com/stretchr/":       {},
	"github.com/onsi/":           {},
	"github.com/mattn/go-sqlite": {},
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for file, imports := range goFiles(t) {
		name := roomOf(file)
		if name == "internal" {
			continue // this test
		}
		r, ok := rooms[name]
		if !ok {
			t.Errorf("%s is in no room of the table", file)
			continue
		}
		seen[name] = true
		for _, imported := range imports {
			checkImport(t, file, name, r, imported)
		}
	}
	if len(seen) < 3 {
		t.Errorf("only the rooms %v were found; is this still the module?", seen)
	}
}

func checkImport(t *testing.T, file, name string, r room, imported string) {
	t.Helper()
	for prefix, allowed := range libraryRooms {
		if strings.HasPrefix(imported, prefix) && !slices.Contains(allowed, name) {
			t.Errorf("%s imports %s, which only %v may", file, imported, allowed)
		}
	}
	own, ok := strings.CutPrefix(imported, module+"/")
	if !ok {
		return
	}
	target := roomOf(own + "/package.go")
	isTest := strings.HasSuffix(file, "_test.go")
	if target != name && !slices.Contains(r.code, target) && !(isTest && slices.Contains(r.tests, target)) {
		t.Errorf("%s imports %s; %s may import only %v, its tests also %v", file, imported, name, r.code, r.tests)
	}
}

// roomOf finds the room that a file, by its path in the repository, belongs to.
func roomOf(file string) string {
	dir := path.Dir(file)
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := rooms[d]; ok {
			return d
		}
	}
	return dir
}

// goFiles returns what each Go file of the repository imports, by path.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		imports := []string{}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, imported)
		}
		files[name] = imports
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestTopLevel keeps the list of what stands at the root of the repository.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"cmd", "proxy", "cache", "upstream", "localstore", "internal", "e2e", "bench", "docs",
		"config.example.yaml", "go.mod", "go.sum", "Dockerfile", "README.md", "CHANGELOG.md", "LICENSE", "CONTRIBUTING.md", "SECURITY.md",
	}
	made := []string{"data", "conanproxy"} // by running and building here; git ignores them
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		ignored := strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".prof") || slices.Contains(made, name)
		if !ignored && !slices.Contains(allowed, name) {
			t.Errorf("%s does not belong at the root of the repository; it holds only %v", name, allowed)
		}
	}
}
