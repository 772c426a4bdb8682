package selection

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func texts(found []named) []string {
	out := make([]string, len(found))
	for i, n := range found {
		out[i] = n.Revision.String() + []string{"", " bare", " whole"}[n.extent]
	}
	return out
}

const lock2 = `{"version": "0.5", "requires": ["zlib/1.3#aa%1.5", ["bzip2/1.0#bb", {"p1": "q1"}]], "build_requires": ["cmake/3.27"], "python_requires": []}`

func TestFilesOfTheClient(t *testing.T) {
	for name, tc := range map[string]struct {
		spec Spec
		want []string
	}{
		"package list": {
			Spec{List: json.RawMessage(`{"team": {"zlib/1.3": {"revisions": {"aa": {"timestamp": 1.5, "packages": {"p1": {"revisions": {"b1": {}, "b2": {}}, "info": {}}}}}}},
				"other": {"tool/1.0@me/ci": {"revisions": {"cc": {}, "dd": {"packages": {}}}}}}`)},
			[]string{"tool/1.0@me/ci#cc bare", "tool/1.0@me/ci#dd", "zlib/1.3#aa", "zlib/1.3#aa:p1#b1", "zlib/1.3#aa:p1#b2"},
		},
		"graph": {
			Spec{Graph: json.RawMessage(`{"graph": {"error": null, "nodes": {
				"0": {"ref": "conanfile", "recipe": "Consumer", "package_id": null, "prev": null, "binary": null},
				"1": {"ref": "zlib/1.3#aa", "recipe": "Downloaded", "package_id": "p1", "prev": "b1", "binary": "Download", "python_requires": {"base/2.0#cc": {"recipe": "Cache", "remote": null}}},
				"2": {"ref": "cmake/3.27#dd%1700000000.1", "recipe": "Cache", "package_id": "p2", "prev": null, "binary": "Skip"},
				"3": {"ref": "sys/1.0", "recipe": "Platform", "package_id": "p3", "prev": null, "binary": "Platform"}}}}`)},
			[]string{"base/2.0#cc", "zlib/1.3#aa", "zlib/1.3#aa:p1#b1", "cmake/3.27#dd"},
		},
		"lockfile of Conan 2": {
			Spec{Lockfile: json.RawMessage(lock2)},
			[]string{"cmake/3.27 whole", "zlib/1.3#aa whole", "bzip2/1.0#bb", "bzip2/1.0#bb:p1#q1"},
		},
		"lockfile of Conan 1": {
			Spec{Lockfile: json.RawMessage(`{"graph_lock": {"nodes": {"0": {"ref": "app/1.0", "path": "conanfile.py"}, "1": {"ref": "zlib/1.3#aa", "package_id": "p1", "prev": "b1"},
				"2": {"ref": "bzip2/1.0.8#0", "package_id": "p2", "prev": "0"}, "3": {"ref": "base/1.0#ee"}}}, "version": "0.4"}`)},
			[]string{"zlib/1.3#aa", "zlib/1.3#aa:p1#b1", "bzip2/1.0.8", "bzip2/1.0.8:p2", "base/1.0#ee whole"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tc.spec.Parse()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, texts(s.named)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	list := func(text string) Spec { return Spec{List: json.RawMessage(text)} }
	lock := func(text string) Spec { return Spec{Lockfile: json.RawMessage(text)} }
	graph := func(text string) Spec { return Spec{Graph: json.RawMessage(text)} }
	for name, tc := range map[string]struct {
		spec Spec
		says string
	}{
		"nothing":                {Spec{List: json.RawMessage("null")}, "the selection is empty"},
		"too many patterns":      {Spec{Patterns: make([]string, maxPatterns+1)}, "more than 1000 patterns"},
		"an empty pattern":       {Spec{Patterns: []string{""}}, `pattern "" names no reference`},
		"a long pattern":         {Spec{Patterns: []string{strings.Repeat("a", 5000)}}, "longer than 4096 bytes"},
		"a bad range":            {Spec{Patterns: []string{"zlib/[>=]"}}, `pattern "zlib/[>=]"`},
		"a bad query":            {Spec{Patterns: []string{"*:*"}, Query: "os"}, `query "os"`},
		"a query on one package": {Spec{Patterns: []string{"zlib/1.3:aa"}, Query: "os=Linux"}, "names one package"},
		"a query on a list":      {Spec{List: json.RawMessage(`{}`), Query: "os=Linux"}, "a query has no effect"},
		"latest of a graph":      {Spec{Graph: json.RawMessage(`{}`), Latest: 1}, "latest has no effect"},
		"negative latest":        {Spec{Patterns: []string{"*"}, Latest: -1}, "latest is -1"},
		"recipes of packages":    {Spec{Patterns: []string{"*:*"}, RecipesOnly: true}, "recipes only leaves them out"},
		"neither":                {Spec{Patterns: []string{"*"}, RecipesOnly: true, PackagesOnly: true}, "exclude each other"},
		"half a JSON":            {list(`{"team": {"zlib/1.3": `), "list: invalid: the JSON is cut short or broken at byte 22"},
		"deep JSON":              {list(strings.Repeat(`{"a":`, 20000)), "exceeded max depth"},
		"no JSON":                {lock(`requires: zlib`), "lockfile: invalid: the JSON is cut short"},
		"graph as a list":        {list(`{"graph": {"nodes": {}}}`), "is a graph, not a package list"},
		"lockfile as a list":     {list(lock2), "is a lockfile, not a package list"},
		"list as a lockfile":     {lock(`{"team": {}}`), `no "version"`},
		"list as a graph":        {graph(`{"team": {}}`), `no "graph"`},
		"list of an error":       {list(`{"team": {"error": "Recipe 'x' not found"}}`), "Recipe 'x' not found"},
		"list of references":     {list(`{"team": {"zlib/1.3": {}}}`), "zlib/1.3 has no revisions"},
		"list of package ids":    {list(`{"team": {"zlib/1.3": {"revisions": {"aa": {"packages": {"p1": {}}}}}}}`), "has no revisions"},
		"empty list":             {list(`{"team": {}}`), "names no package"},
		"lockfile of the future": {lock(`{"version": "0.9", "requires": []}`), `version "0.9"`},
		"lockfile with more":     {lock(`{"version": "0.5", "tool_requires": []}`), `"tool_requires"`},
		"graph without nodes":    {graph(`{"graph": {"root": {}}}`), "no nodes"},
		"graph with an error":    {graph(`{"graph": {"nodes": {}, "error": {"type": "conflict"}}}`), "conflict"},
		"filtered graph":         {graph(`{"graph": {"nodes": {"1": {"package_id": "p"}}}}`), `node "1"`},
		"graph without revision": {graph(`{"graph": {"nodes": {"1": {"ref": "zlib/1.3", "recipe": "Cache"}}}}`), "empty recipe revision"},
		"bad reference":          {list(`{"team": {"../etc": {}}}`), "not a valid"},
		"bad revision":           {lock(`{"version": "0.5", "requires": ["zlib/1.3#../x"]}`), "recipe revision"},
		"a number":               {list(`7`), "a JSON number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.spec.Parse()
			if !errors.Is(err, conan.ErrInvalid) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v does not say %q", err, tc.says)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("boost/[>=1.83 <2]#*:*#latest", "os=Linux and (a=b or c=d)", []byte(lock2))
	f.Add("zlib/1.3#!latest", "", []byte(`{"graph": {"nodes": {"1": {"ref": "zlib/1.3#aa", "recipe": "Cache"}}}}`))
	f.Add("*@", "a=b)", []byte(`{"team": {"zlib/1.3": {"revisions": {"aa": {"packages": {"p1": {"revisions": {"b1": {}}}}}}}}}`))
	f.Fuzz(func(t *testing.T, pattern, query string, file []byte) {
		for _, spec := range []Spec{
			{Patterns: []string{pattern}, Query: query}, {List: file}, {Graph: file}, {Lockfile: file},
		} {
			s, err := spec.Parse()
			if err != nil && !errors.Is(err, conan.ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			for _, n := range s.named {
				if n.Name == "" || n.IsPackage() && n.PackageID == "" {
					t.Errorf("%+v names nothing", n)
				}
			}
			for _, p := range s.patterns {
				_, _, _ = p.Exact()
				_, _ = p.Search()
				_ = p.Keeps(conan.Ref{Name: "zlib", Version: "1.3"})
			}
		}
	})
}
