package selection

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func texts(named []Named) []string {
	out := make([]string, len(named))
	for i, n := range named {
		out[i] = n.Revision.String()
		if n.WithPackages {
			out[i] += " +"
		}
	}
	return out
}

func TestReadFile(t *testing.T) {
	for name, tc := range map[string]struct {
		kind FileKind
		text string
		want []string
	}{
		"package list of a remote": {PackageList, `{"team": {"zlib/1.3": {"revisions": {"aa": {"timestamp": 1.5, "packages": {"p1": {"revisions": {"b1": {}, "b2": {}}, "info": {}}, "p2": {}}}}}, "tool/1.0@me/ci": {}}}`,
			[]string{"tool/1.0@me/ci", "zlib/1.3#aa", "zlib/1.3#aa:p1#b1", "zlib/1.3#aa:p1#b2", "zlib/1.3#aa:p2"}},
		"graph": {Graph, `{"graph": {"nodes": {
			"0": {"ref": "conanfile", "recipe": "Consumer", "package_id": null, "prev": null, "binary": null},
			"1": {"ref": "zlib/1.3#aa", "recipe": "Downloaded", "package_id": "p1", "prev": "b1", "binary": "Download", "python_requires": {"base/2.0#cc": {"recipe": "Cache", "remote": null}}},
			"2": {"ref": "cmake/3.27#dd%1700000000.1", "recipe": "Cache", "package_id": "p2", "prev": null, "binary": "Skip"},
			"3": {"ref": "sys/1.0", "recipe": "Platform", "package_id": "p3", "prev": null, "binary": "Platform"}}}}`,
			[]string{"base/2.0#cc", "zlib/1.3#aa", "zlib/1.3#aa:p1#b1", "cmake/3.27#dd"}},
		"lockfile of Conan 2": {Lockfile, `{"version": "0.5", "requires": ["zlib/1.3#aa%1.5", ["bzip2/1.0#bb", {"p1": "q1"}]], "build_requires": ["cmake/3.27"], "python_requires": []}`,
			[]string{"zlib/1.3#aa +", "bzip2/1.0#bb", "bzip2/1.0#bb:p1#q1", "cmake/3.27 +"}},
		"lockfile of Conan 1": {Lockfile, `{"graph_lock": {"nodes": {"0": {"ref": ""}, "1": {"ref": "zlib/1.3#aa", "package_id": "p1", "prev": "b1", "context": "host"}, "2": {"ref": "bzip2/1.0.8#0", "package_id": "p2", "prev": "0"}}, "revisions_enabled": true}, "version": "0.4"}`,
			[]string{"zlib/1.3#aa", "zlib/1.3#aa:p1#b1", "bzip2/1.0.8", "bzip2/1.0.8:p2"}},
	} {
		t.Run(name, func(t *testing.T) {
			named, err := ReadFile(strings.NewReader(tc.text), tc.kind, "f.json")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, texts(named)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadFileRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		kind FileKind
		text string
		says string
	}{
		"half a JSON":             {PackageList, `{"team": {"zlib/1.3": `, "ends or breaks at byte"},
		"no JSON":                 {Lockfile, `requires: zlib`, "no lockfile"},
		"graph as a list":         {PackageList, `{"graph": {"nodes": {}}}`, "is a graph, not a package list"},
		"list as a lockfile":      {Lockfile, `{"team": {}}`, "is a package list, not a lockfile"},
		"list of an error":        {PackageList, `{"team": {"error": "Recipe 'x' not found"}}`, "Recipe 'x' not found"},
		"lockfile of the future":  {Lockfile, `{"version": "0.9", "requires": []}`, `version "0.9"`},
		"graph without its nodes": {Graph, `{"graph": {"root": {}}}`, "no nodes"},
		"bad reference":           {PackageList, `{"team": {"../etc": {}}}`, "not a valid"},
		"bad revision":            {Lockfile, `{"version": "0.5", "requires": ["zlib/1.3#../x"]}`, "recipe revision"},
		"a number":                {PackageList, `7`, "no package list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadFile(strings.NewReader(tc.text), tc.kind, "f.json")
			if !errors.Is(err, conan.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "f.json") {
				t.Errorf("%q does not say %q", err, tc.says)
			}
		})
	}
}
