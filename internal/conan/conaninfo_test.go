package conan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const conan1Info = `[settings]
    compiler=gcc
    compiler.version=9
    os=Linux

[requires]
    zlib/1.Y.Z
    bzip2/1.Y.Z

[options]
    shared=False
    text=a=b
    zlib:shared=True

[full_settings]
    arch=x86_64

[full_requires]
    zlib/1.2.11@acme/stable#6ab7:5ab84d6acfe1f23c4fae0ab88f26e3a396351ac9#0d12
    bzip2/1.0.8:da39a3ee5e6b4b0d3255bfef95601890afd80709

[full_options]
    shared=False

[recipe_hash]
    bf1fbf3b7ac9a1a7fd3ee1bbf23f3b71

[env]
    CC=clang
`

func TestParseInfo(t *testing.T) {
	conan1 := Info{
		Settings:     map[string]string{"compiler": "gcc", "compiler.version": "9", "os": "Linux"},
		Options:      map[string]string{"shared": "False", "text": "a=b"},
		Requires:     []string{"zlib/1.Y.Z", "bzip2/1.Y.Z"},
		FullRequires: []string{"bzip2/1.0.8:da39a3ee5e6b4b0d3255bfef95601890afd80709", "zlib/1.2.11@acme/stable:5ab84d6acfe1f23c4fae0ab88f26e3a396351ac9"},
		RecipeHash:   "bf1fbf3b7ac9a1a7fd3ee1bbf23f3b71",
	}
	empty := func(change func(*Info)) Info {
		info := Info{Settings: map[string]string{}, Options: map[string]string{}, Requires: []string{}, FullRequires: []string{}}
		if change != nil {
			change(&info)
		}
		return info
	}
	tests := []struct {
		name, text string
		want       Info
	}{
		{"Conan 1", conan1Info, conan1},
		{"Windows line ends", strings.ReplaceAll(conan1Info, "\n", "\r\n"), conan1},
		{"byte order mark", "\ufeff" + conan1Info, conan1},
		{"Conan 2", "[settings]\nos=Linux\n[options]\nshared=True\nzlib/*:fPIC=True\n[requires]\nzlib/1.3.Z\n[conf]\ntools.build:x=1\n",
			empty(func(i *Info) {
				i.Settings["os"] = "Linux"
				i.Options["shared"] = "True"
				i.Requires = []string{"zlib/1.3.Z"}
			})},
		{"empty file", "", empty(nil)},
		{"only a mark", "\ufeff", empty(nil)},
		{"comments and blanks", "# a\n\n[settings]\n  # os=no\n\tos = Linux \n#[options]\narch=x86\n",
			empty(func(i *Info) { i.Settings["os"], i.Settings["arch"] = "Linux", "x86" })},
		{"junk", "os=Linux\n[\nos=Linux\n[settings\nos=Linux\n[settings] # why\nnothing\n=\narch=arm\n[]\na=b\n",
			empty(func(i *Info) {
				i.Settings["os"], i.Settings["arch"] = "Linux", "arm"
			})},
		{"full_requires without package id", "[full_requires]\nzlib/1.0#1\n",
			empty(func(i *Info) { i.FullRequires = []string{"zlib/1.0"} })},
		{"recipe_hash of two lines", "[recipe_hash]\n\n  abc\n  def\n", empty(func(i *Info) { i.RecipeHash = "abc" })},
		{"recipe_hash missing", "[recipe_hash]\n\n[env]\n", empty(nil)},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ParseInfo(tt.text)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add(conan1Info)
	f.Add("[settings]\nos=Linux\n")
	f.Add("\ufeff[options]\r\na:b=c\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		info := ParseInfo(text)
		if info.Settings == nil || info.Options == nil || info.Requires == nil || info.FullRequires == nil {
			t.Fatal("a part is nil")
		}
		for key := range info.Options {
			if strings.Contains(key, ":") {
				t.Fatalf("option %q of another package", key)
			}
		}
		for _, r := range info.FullRequires {
			if strings.Contains(r, "#") {
				t.Fatalf("revision in %q", r)
			}
		}
	})
}
