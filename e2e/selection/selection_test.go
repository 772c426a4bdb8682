package selection

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/conan"
	"conanproxy/internal/harness"
	chosen "conanproxy/internal/selection"
)

// publish uploads references with several recipe revisions, packages and package revisions.
func publish(t *testing.T, c *e2etest.Client) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "conanfile.py")
	text, err := os.ReadFile("conanfile.py")
	if err != nil {
		t.Fatal(err)
	}
	write := func(more string) {
		if err := os.WriteFile(path, append(slices.Clone(text), more...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	create := "create " + dir + " --name="
	write("")
	must(t, c,
		run("1", create+"zlib --version=1.2.11"),
		run("1", create+"zlib --version=1.2.13 -s os=Windows"),
		run("1", create+"zlib --version=1.3"),
		run("1", create+"zlib --version=1.3 -s os=Windows"),
		run("1", create+"zlib --version=1.3 -s build_type=Debug"),
		run("1", create+"zlib --version=1.3 -o zlib/*:shared=True -o zlib/*:flavour=sweet"),
		run("1", create+"zlib --version=1.3 --user=me --channel=ci"),
		run("1", create+"zlib-ng --version=2.0"),
		run("1", create+"boost --version=1.82.0"),
		run("1", create+"boost --version=1.83.0"),
		run("1", create+"boost --version=1.84.0-rc1"),
		run("1", create+"tool --version=2.0 --user=solo"),
		run("1", "export "+dir+" --name=only --version=1.0"),
		run("1", "upload * -r r -c"),
	)
	write("# changed\n")
	must(t, c,
		run("2", create+"zlib --version=1.3"),
		run("2", create+"zlib --version=1.3 -s os=Windows"),
		run("2", create+"boost --version=1.83.0"),
		run("2", "upload * -r r -c"),
		run("3", create+"zlib --version=1.3"),
		run("3", create+"app --version=0.1"),
		run("3", "upload * -r r -c"),
	)
}

// listing is the client's JSON of one remote.
type listing map[string]struct {
	Revisions map[string]struct {
		Packages map[string]struct {
			Revisions map[string]struct{} `json:"revisions"`
		} `json:"packages"`
	} `json:"revisions"`
}

// texts are the revisions of a package list, as lines; with remove, those that the client removes.
func (l listing) texts(remove bool) []string {
	var lines []string
	for ref, recipe := range l {
		if len(recipe.Revisions) == 0 {
			lines = append(lines, ref)
		}
		for rrev, revision := range recipe.Revisions {
			if !remove || revision.Packages == nil {
				lines = append(lines, ref+"#"+rrev)
			}
			for id, pkg := range revision.Packages {
				if len(pkg.Revisions) == 0 {
					lines = append(lines, ref+"#"+rrev+":"+id)
				}
				for prev := range pkg.Revisions {
					lines = append(lines, ref+"#"+rrev+":"+id+"#"+prev)
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// chose is what the client chose, or false if it failed.
func chose(t *testing.T, a answer, remove bool) ([]string, bool) {
	t.Helper()
	var remotes map[string]json.RawMessage
	if a.Error != "" || json.Unmarshal(a.Answer, &remotes) != nil || strings.Contains(string(remotes["r"]), `"error"`) {
		return nil, false
	}
	var list listing
	if err := json.Unmarshal(remotes["r"], &list); err != nil {
		t.Fatalf("%v: %s", err, a.Answer)
	}
	return list.texts(remove), true
}

// resolve is the same of a selection here.
func resolve(t *testing.T, source conan.Source, spec chosen.Spec, purpose chosen.Purpose) (lines []string, ok bool, why any) {
	t.Helper()
	s, err := spec.Parse()
	if err != nil {
		return nil, false, invalid(t, err)
	}
	result, err := chosen.Resolve(t.Context(), source, s, purpose)
	if err != nil {
		return nil, false, invalid(t, err)
	}
	for _, found := range result.Revisions {
		lines = append(lines, found.Revision.String())
	}
	slices.Sort(lines)
	return lines, len(result.Missing) == 0, result.Missing
}

func invalid(t *testing.T, err error) error {
	if !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("%v is not ErrInvalid", err)
	}
	return err
}

// asked is one pattern and query of the comparison.
type asked struct{ pattern, query string }

// questions are asked as list, upload and remove. RREV and PID are replaced by ids that exist.
var questions = []asked{
	{"*", ""}, {"zlib", ""}, {"zlib*", ""}, {"ZLIB/*", ""}, {"zlib/*", ""}, {"zlib/1.3", ""}, {"zlib/1.3@", ""},
	{"zlib/*@", ""}, {"zlib/1.3@me/ci", ""}, {"*@me", ""}, {"*@solo", ""}, {"*/*@*", ""}, {"zlib/1.?", ""},
	{"zlib/[>=1.2.12]", ""}, {"zlib/[>=1.2.12]@me/ci", ""}, {"boost/[>=1.83 <2]", ""}, {"boost/[>1.82, include_prerelease]", ""},
	{"boost/[*]", ""}, {"zlib/[~1.2]", ""}, {"zlib/[>=5]", ""}, {"zlib/[>=1.2]@", ""}, {"zlib/[>=", ""}, {"zlib/[=>1]", ""},
	{"nothing/1.0", ""}, {"nothing/*", ""}, {"zlib/1.3#latest", ""}, {"zlib/1.3#*", ""}, {"zlib/1.3#!latest", ""},
	{"zlib/1.3#~latest", ""}, {"zlib/*#*", ""}, {"zlib/1.3#RREV", ""}, {"zlib/1.3#R*", ""}, {"zlib/1.3#0000", ""},
	{"zlib/*#RREV", ""}, {"zlib/[>=1.2]#RREV", ""}, {"nothing/1.0#*", ""}, {"zlib/1.2.11#!latest", ""},
	{"zlib/1.3:*", ""}, {"zlib/1.3:PID", ""}, {"zlib/1.3:PID#latest", ""}, {"zlib/1.3:PID#*", ""}, {"zlib/1.3:0000", ""},
	{"zlib/1.3:0000#*", ""}, {"zlib/1.3#*:*#*", ""}, {"zlib/1.3#*:*", ""}, {"zlib/1.3#*:PID", ""}, {"zlib/*:PID#latest", ""},
	{"zlib/1.3#RREV:*#latest", ""}, {"zlib/1.3:*#!latest", ""}, {"zlib/1.3:PID#0000", ""}, {"*:*", ""}, {"*#*:*#*", ""},
	{"only/1.0", ""}, {"only/1.0:*", ""}, {"zlib/1.3#", ""}, {"zlib/1.3:", ""}, {"zlib/1.3:P?D*", ""},
	{"zlib/1.3:*", "os=Linux"}, {"zlib/1.3#*:*#*", "os=Windows"}, {"*:*", "os=Linux and build_type=Debug"},
	{"*:*", "os=Windows or options.shared=True"}, {"*:*", "options.flavour=sweet AND (os=Linux OR os=Windows)"},
	{"*:*", "os=Windows or os=Linux and build_type=Debug"}, {"*:*", "build_type=Debug and os=Linux or os=Windows"},
	{"zlib/1.3:*", "compiler.version=12"}, {"zlib/1.3:*", `compiler="gcc"`}, {"zlib/1.3:*", "options.nothing=None"},
	{"zlib/1.3:*", "nothing=1"}, {"zlib/1.3:*", "os!=Linux"}, {"zlib/1.3:*", "not os=Linux"}, {"zlib/1.3:*", "os"},
	{"zlib/1.3:*", "(os=Linux"}, {"zlib/1.3:PID", "os=Linux"}, {"zlib/1.3", "os=Linux"},
}

// ids finds a recipe revision and a package id to ask for.
func ids(t *testing.T, c *e2etest.Client) *strings.Replacer {
	t.Helper()
	a := must(t, c, run("", "list zlib/1.3#latest:* -r r"))[0]
	list, _ := chose(t, a, false)
	rrev, id, _ := strings.Cut(strings.TrimPrefix(list[len(list)-1], "zlib/1.3#"), ":")
	return strings.NewReplacer("RREV", rrev, "R*", rrev[:6]+"*", "PID", id, "P?D*", id[:1]+"?"+id[2:12]+"*")
}

// command is a question in the words of one of the client's commands.
func command(name string, q asked) step {
	argv := []string{name, q.pattern, "-r", "r"}
	if q.query != "" {
		argv = append(argv, "-p", q.query)
	}
	if name == "remove" {
		argv = append(argv, "-c", "--dry-run")
	}
	return step{Argv: argv}
}

// TestPatternsMeanWhatTheyMeanToTheClient asks the client and this program about the same server.
func TestPatternsMeanWhatTheyMeanToTheClient(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	c := e2etest.NewConan2(t, proxy.URL("local")).As("demo", "demo")
	publish(t, c)
	replace := ids(t, c)
	var steps []step
	all := slices.Clone(questions)
	for i := range all {
		all[i].pattern = replace.Replace(all[i].pattern)
		q := all[i]
		steps = append(steps, command("list", q), step{Pattern: q.pattern, Query: q.query}, command("remove", q))
	}
	answers := ask(t, c, steps...)
	from := source(t, proxy.URL("local"))
	compared := 0
	for i, q := range all {
		for j, purpose := range []chosen.Purpose{chosen.AsList, chosen.AsUpload, chosen.AsRemove} {
			spec := chosen.Spec{Patterns: []string{q.pattern}, Query: q.query}
			got, ok, why := resolve(t, from, spec, purpose)
			a := answers[3*i+j]
			want, wantOK := chose(t, a, purpose == chosen.AsRemove)
			if ok != wantOK {
				t.Errorf("%+v as %d: found everything: %v (%v); the client: %s%.300s", q, purpose, ok, why, a.Error, a.Answer)
				continue
			}
			if purpose == chosen.AsRemove && !strings.Contains(strings.TrimSuffix(q.pattern, ":"), ":") {
				got = recipesOf(got) // the client removes their packages without naming them
			}
			if ok {
				compared += len(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%+v as %d (-client +here):\n%s", q, purpose, diff)
				}
			}
		}
	}
	if compared < 300 {
		t.Errorf("only %d revisions were compared", compared)
	}
	t.Run("files", func(t *testing.T) { filesOfTheClient(t, c, from) })
}

func recipesOf(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, ":") })
}

// filesOfTheClient resolves what the client wrote, and wants what the client reads in it.
func filesOfTheClient(t *testing.T, c *e2etest.Client, from conan.Source) {
	lock := filepath.Join(t.TempDir(), "conan.lock")
	answers := must(t, c,
		run("", "list zlib/*#*:*#* -r r"),
		run("", "graph info --requires=app/0.1 --requires=boost/1.82.0 -r r"),
		run("", "lock create --requires=app/0.1 --lockfile-out="+lock+" -r r"),
		run("", "list app/0.1#latest:*#latest -r r"),
		run("", "upload boost/* -r r -c"),
	)
	list, _ := chose(t, answers[0], false)
	same(t, from, chosen.Spec{List: answers[0].Answer}, list)

	graph := filepath.Join(t.TempDir(), "graph.json")
	if err := os.WriteFile(graph, answers[1].Answer, 0o644); err != nil {
		t.Fatal(err)
	}
	read := must(t, c, run("", "list --graph="+graph))[0]
	var lists map[string]listing
	if err := json.Unmarshal(read.Answer, &lists); err != nil {
		t.Fatal(err)
	}
	same(t, from, chosen.Spec{Graph: answers[1].Answer}, lists["Local Cache"].texts(false))

	text, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	app, _ := chose(t, answers[3], false)
	zlib, _ := chose(t, must(t, c, run("", "list zlib/1.3#latest:*#latest -r r"))[0], false)
	same(t, from, chosen.Spec{Lockfile: text}, append(app, zlib...))

	uploaded, _ := chose(t, answers[4], false)
	same(t, from, chosen.Spec{List: answers[4].Answer}, uploaded)
}

func same(t *testing.T, from conan.Source, spec chosen.Spec, want []string) {
	t.Helper()
	got, ok, why := resolve(t, from, spec, chosen.AsUpload)
	if !ok || len(want) == 0 {
		t.Fatalf("%v; the client has %d", why, len(want))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-client +here):\n%s", diff)
	}
}

// TestQueriesOnPackagesOfConan1 compares with `conan search -q` of Conan 1, which writes options
// without "options.". Conan 2 does not show packages of Conan 1.
func TestQueriesOnPackagesOfConan1(t *testing.T) {
	t.Parallel()
	proxy := e2etest.StartConanproxy(t, nil)
	c := e2etest.NewConan1(t, proxy.URL("local")).As("demo", "demo")
	lib := e2etest.Recipe(t, "lib")
	const ref = "lib/1.0@demo/testing"
	c.Create(lib, "demo/testing")
	c.Create(lib, "demo/testing", "-s", "os=Windows")
	c.Create(lib, "demo/testing", "-o", "lib:shared=True")
	c.Upload(ref)
	from := source(t, proxy.URL("local"))
	for _, query := range []string{"os=Linux", "os=Windows or options.shared=True", "os=Linux and options.shared=False"} {
		out := filepath.Join(t.TempDir(), "search.json")
		c.Must("search", ref, "-r", "r", "-q", strings.ReplaceAll(query, "options.", ""), "-j", out)
		want := searched(t, out)
		got, _, _ := resolve(t, from, chosen.Spec{Patterns: []string{ref + ":*"}, Query: query, PackagesOnly: true}, chosen.AsList)
		for i, line := range got {
			_, got[i], _ = strings.Cut(line, ":")
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-client +here):\n%s", query, diff)
		}
	}
}

// searched are the package ids in a file of `conan search --json` of Conan 1.
func searched(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var search struct {
		Results []struct {
			Items []struct {
				Packages []struct {
					ID string `json:"id"`
				} `json:"packages"`
			} `json:"items"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &search); err != nil {
		t.Fatalf("%v: %s", err, harness.LastBytes(string(text), 1000))
	}
	var ids []string
	for _, r := range search.Results {
		for _, item := range r.Items {
			for _, p := range item.Packages {
				ids = append(ids, p.ID)
			}
		}
	}
	return ids
}
