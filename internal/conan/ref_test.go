package conan

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRef(t *testing.T) {
	long := strings.Repeat("n", 51)
	tests := []struct {
		text string
		want Ref
		v1   bool
	}{
		{"zlib/1.3", Ref{"zlib", "1.3", "", ""}, true},
		{"zlib/1.3@", Ref{"zlib", "1.3", "", ""}, true},
		{"zlib/1.3@_/_", Ref{"zlib", "1.3", "", ""}, true},
		{"zlib/1.3@u1", Ref{"zlib", "1.3", "u1", ""}, false},
		{"zlib/1.3@u1/c1", Ref{"zlib", "1.3", "u1", "c1"}, true},
		{"zlib/1.3@__/__", Ref{"zlib", "1.3", "__", "__"}, true},
		{"a+b/1.0+x.y", Ref{"a+b", "1.0+x.y", "", ""}, true},
		{"png++/0.2@u+u/c.c", Ref{"png++", "0.2", "u+u", "c.c"}, true},
		{"_b/1.0", Ref{"_b", "1.0", "", ""}, true},
		{"AB/1.0RC", Ref{"AB", "1.0RC", "", ""}, true},
		{"b./__", Ref{"b.", "__", "", ""}, true},
		{"ab/cci.20210118", Ref{"ab", "cci.20210118", "", ""}, true},
		{"ab/1.0-rc.1", Ref{"ab", "1.0-rc.1", "", ""}, true},
		{"ab/0.1.0_1", Ref{"ab", "0.1.0_1", "", ""}, true},
		{"zlib/1", Ref{"zlib", "1", "", ""}, false},
		{long + "/" + long, Ref{long, long, "", ""}, true},
		{long + "n/1.0", Ref{long + "n", "1.0", "", ""}, false},
		{"ab/" + long + "n", Ref{"ab", long + "n", "", ""}, false},
		{"ab/1.0@" + long + "n/cc", Ref{"ab", "1.0", long + "n", "cc"}, false},
		{strings.Repeat("n", 101) + "/1.0", Ref{strings.Repeat("n", 101), "1.0", "", ""}, false},
		{strings.Repeat("n", 99) + "/" + strings.Repeat("1", 100), Ref{strings.Repeat("n", 99), strings.Repeat("1", 100), "", ""}, false},
	}
	for _, tt := range tests {
		got, err := ParseRef(tt.text)
		if err != nil {
			t.Errorf("ParseRef(%q): %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseRef(%q): (-want +got)\n%s", tt.text, diff)
		}
		if got.ValidV1() != tt.v1 {
			t.Errorf("%s is valid for Conan 1: got %v, want %v", got, got.ValidV1(), tt.v1)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for _, text := range []string{
		"", "zlib", "zlib/", "/1.0", "z/1.0", "_/1.0", "-a/1.0", ".a/1.0", "+a/1.0", "ab/-1", "ab/.1", "ab/..", "../1.0",
		"ab/1:0", "ab/1~0", "ab/1/2", "ab/1.0@u1/c1/d1", "ab/1.0@u1@c1", "ab/1.0@u", "ab/1.0@u1/c", "ab/1.0@u1/", "ab/1.0@/c1",
		"ab/1.0@_/c1", "ab/1.0#abc", "ä1/1.0", "a b/1.0", "*/1.0", "ab/*", "ab/[>1]", "ab/1.0\n", "ab\n/1.0", "ab/1\x000",
		`ab\c/1.0`, "ab%2F/1.0", strings.Repeat("n", 102) + "/1.0", "ab/" + strings.Repeat("1", 102),
		strings.Repeat("n", 100) + "/" + strings.Repeat("1", 100), strings.Repeat("n", 1<<20),
	} {
		r, err := ParseRef(text)
		if !errors.Is(err, ErrInvalid) || !r.IsZero() {
			t.Errorf("ParseRef(%.40q): got %v, %v; want ErrInvalid", text, r, err)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("ParseRef(%.40q): error of %d bytes", text, len(err.Error()))
		}
	}
}

func TestNewRefAbsent(t *testing.T) {
	for _, absent := range []string{"", "_"} {
		r, err := NewRef("zlib", "1.3", absent, absent)
		if err != nil || r != (Ref{Name: "zlib", Version: "1.3"}) {
			t.Errorf("NewRef with %q: got %v, %v", absent, r, err)
		}
		if r, err := NewRef("zlib", "1.3", "solo", absent); err != nil || r != (Ref{"zlib", "1.3", "solo", ""}) {
			t.Errorf("NewRef with a user and channel %q: got %v, %v", absent, r, err)
		}
		if r, err := NewRef("zlib", "1.3", absent, "stable"); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewRef with user %q and a channel: got %v, %v", absent, r, err)
		}
	}
}

func TestRefForms(t *testing.T) {
	tests := []struct {
		ref          Ref
		text, inPath string
	}{
		{Ref{"zlib", "1.3", "", ""}, "zlib/1.3", "zlib/1.3/_/_"},
		{Ref{"zlib", "1.3", "solo", ""}, "zlib/1.3@solo", "zlib/1.3/solo/_"},
		{Ref{"zlib", "1.3", "acme", "stable"}, "zlib/1.3@acme/stable", "zlib/1.3/acme/stable"},
	}
	for _, tt := range tests {
		if tt.ref.String() != tt.text || tt.ref.Path() != tt.inPath {
			t.Errorf("forms of %#v: got %q, %q; want %q, %q", tt.ref, tt.ref.String(), tt.ref.Path(), tt.text, tt.inPath)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"zlib/1.3", "zlib/1.3@_/_", "a+b/1.0+x@u1/c1", "ab/1.0@solo", "ab/1.0#0", "ab/1.0\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRef(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		again, err := ParseRef(r.String())
		if err != nil || again != r {
			t.Fatalf("%q parses as %#v, its text %q as %#v, %v", text, r, r.String(), again, err)
		}
		parts := strings.Split(r.Path(), "/")
		if len(parts) != 4 {
			t.Fatalf("path %q of %q", r.Path(), text)
		}
		if again, err = NewRef(parts[0], parts[1], parts[2], parts[3]); err != nil || again != r {
			t.Fatalf("path %q reads as %#v, %v", r.Path(), again, err)
		}
		if strings.ContainsAny(r.Path(), "\\\x00\n%#?;") || strings.Contains("/"+r.Path()+"/", "/../") {
			t.Fatalf("unsafe path %q", r.Path())
		}
	})
}
