package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errorLine = regexp.MustCompile(`^c\.yaml:\d+: `)

// FuzzLoad checks that any file is either refused, with file and line in each error, or loads and
// prints as itself.
func FuzzLoad(f *testing.F) {
	if example, err := os.ReadFile(exampleFile); err != nil {
		f.Fatal(err)
	} else {
		f.Add(example)
	}
	for _, seed := range []string{
		"", "listen: ':1'", "a: &a [*a]", "{<<: {}}", "--- ~\n---\n", "upstreams: [{name: a, url: 'http://a', username: u, password: '${P}'}]",
		"auth: {read: [{pattern: '*', users: ['*']}]}", "auth: {groups: {a: [x], ~: [], ? [b] : []}, admin: ['@a'], read: [{pattern: '*', users: ['@a'], in: [local]}]}", "? [a]\n: b", "\ufefflisten: ':2'", "cache: {max_size: 9999999TiB}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		env := []string{"P=from the environment"}
		c, err := load(data, LoadOptions{File: "c.yaml", Env: env, NoFiles: true})
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !errorLine.MatchString(line) {
					t.Errorf("the line %q of an error names no file and line", line)
				}
			}
			return
		}
		text := strings.ReplaceAll(printed(t, c), "'"+mask+"'", "${P}")
		again, err := load([]byte(text), LoadOptions{File: "printed", Env: env, NoFiles: true})
		if err != nil {
			t.Fatalf("printed configuration is refused: %v\n%s", err, text)
		}
		for i := range c.Upstreams {
			if c.Upstreams[i].Password != "" {
				c.Upstreams[i].Password = "from the environment"
			}
		}
		if diff := cmp.Diff(c, again, compare); diff != "" {
			t.Errorf("(-loaded +printed and loaded):\n%s", diff)
		}
	})
}
