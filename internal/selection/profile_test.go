package selection

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// shown is what `conan profile show` of Conan 2 prints.
const shown = `Host profile:
[settings]
arch=x86_64
build_type=Release
compiler.version=12
zlib*:compiler.version=13
!zlib/*:build_type=Debug
[options]
*:shared=True
zlib/*:shared=False
&:fPIC=False
ssl=True
zlib/1.3:minizip!=True
[conf]
tools.build:jobs=2

Build profile:
[settings]
arch=armv8
`

type pairMap = map[string]string

func TestProfile(t *testing.T) {
	for name, tt := range map[string]struct {
		text, ref         string
		settings, options pairMap
	}{
		"shown, a reference with lines of its own": {shown, "zlib/1.3",
			pairMap{"arch": "x86_64", "build_type": "Release", "compiler.version": "13"}, pairMap{"shared": "False", "minizip": "True"}},
		"shown, another": {shown, "boost/1.80.0",
			pairMap{"arch": "x86_64", "build_type": "Debug", "compiler.version": "12"}, pairMap{"shared": "True"}},
		"without the titles, which go to stderr": {"[settings]\nos=Linux\n\n[settings]\nos=Macos\n", "zlib/1.3", pairMap{"os": "Linux"}, pairMap{}},
		"of Conan 1":                             {"[settings]\nos=Linux\n[options]\nzlib:shared=True\n[build_requires]\n", "zlib/1.3", pairMap{"os": "Linux"}, pairMap{"shared": "True"}},
		"no settings":                            {"# a comment\n[options]\n*:shared=True\n", "zlib/1.3", pairMap{}, pairMap{"shared": "True"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParseProfile(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := conan.ParseRef(tt.ref)
			if err != nil {
				t.Fatal(err)
			}
			settings, options := p.For(ref)
			if diff := cmp.Diff([]pairMap{tt.settings, tt.options}, []pairMap{settings, options}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, text := range []string{"", "hello", "{\"host\": {}}", "[settings]\nos\n", "include(default)\n[settings]\nos=Linux\n", "[settings]\nos={{ os }}\n", "[conf]\na=b\n"} {
		if _, err := ParseProfile(text); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestMissingBinaries(t *testing.T) {
	const text = `{"graph": {"nodes": {
		"0": {"ref": "conanfile", "recipe": "Cli", "package_id": null, "binary": null, "info": null},
		"1": {"ref": "app/1.0#r1%1690000000.5", "recipe": "Cache", "package_id": "p1", "binary": "Missing",
			"info": {"settings": {"os": "Linux"}, "options": {"ssl": "True"}, "requires": ["lib/1.Y.Z"]}},
		"2": {"ref": "lib/1.0#r2", "recipe": "Cache", "package_id": "p2", "binary": "Missing", "info": {}},
		"3": {"ref": "lib/1.0#r2", "recipe": "Cache", "package_id": "p2", "binary": "Missing", "info": {}},
		"4": {"ref": "lib/1.0#r2", "recipe": "Cache", "package_id": "p3", "binary": "Cache"}}}}`
	missing, err := MissingBinaries([]byte(text))
	var got []string
	for _, m := range missing {
		got = append(got, m.String())
	}
	if diff := cmp.Diff([]string{"app/1.0#r1:p1", "lib/1.0#r2:p2"}, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	if app := missing[0]; app.Settings["os"] != "Linux" || app.Options["ssl"] != "True" || len(app.Requires) != 1 {
		t.Errorf("%+v", app)
	}
	for _, text := range []string{"", "{}", `{"graph": {}}`, `{"graph": {"nodes": {"1": {"ref": "x", "binary": "Missing"}}}}`,
		`{"graph": {"nodes": {"1": {"ref": "lib/1.0", "binary": "Missing", "package_id": "../x"}}}}`} {
		if _, err := MissingBinaries([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
