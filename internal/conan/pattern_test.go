package conan

import (
	"errors"
	"strings"
	"testing"
)

func mustRef(t testing.TB, s string) Ref {
	t.Helper()
	r, err := ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPatternMatch(t *testing.T) {
	const hello, nouc = "hello/1.0@demo/testing", "nouc/2.0"
	tests := []struct {
		pattern string
		exact   bool // ignorecase=False
		ref     string
		want    bool
	}{
		{"", false, hello, true},
		{"", false, nouc, true},
		{"*", false, hello, true},
		{"***", false, nouc, true},
		{"hello", false, hello, true},
		{"hello", false, nouc, false},
		{"hello/", false, hello, true},
		{"hello*", false, hello, true},
		{"hello/1.0", false, hello, true},
		{"hello/1.0@", false, hello, true},
		{"hello/1.0@demo", false, hello, true},
		{"hello/1.0@demo/", false, hello, true},
		{"hello/1.0@demo/testing", false, hello, true},
		{"hello/1.0@demo/testing#0", false, hello, true},
		{"hello/1.?@*", false, hello, true},
		{"hell", false, hello, false},
		{"ell", false, hello, false},
		{"ello/*", false, hello, false},
		{"HELLO*", false, hello, true},
		{"HELLO*", true, hello, false},
		{"HELLO/*", false, "HELLO/1.0", true},
		{"hello/*", false, "HELLO/1.0", true},
		{"hello/*", true, "HELLO/1.0", false},
		{"*@*", false, hello, true},
		{"*@*", false, nouc, false},
		{"*/testing", false, hello, true},
		{"*/testing", false, nouc, false},
		{"nouc/2.0@", false, nouc, false},
		{"nouc/2.0@_/_", false, nouc, false},
		{"*#*", false, hello, true},
		{"*#0", false, nouc, true},
		{"nouc/2.0#", false, nouc, true},
		{"nouc/2.0#1", false, nouc, false},
		{"[hn]*", false, hello, true},
		{"[hn]*", false, nouc, true},
		{"[!h]*", false, hello, false},
		{"[!h]*", false, nouc, true},
		{"[!H]*", false, hello, false},
		{"[!H]*", true, hello, true},
		{"[a-i]ello", false, hello, true},
		{"[i-a]ello", false, hello, false},
		{"[!i-a]ello", false, hello, true},
		{"[H-]ello", false, hello, true},
		{"h[ae]llo*", false, hello, true},
		{"h[ae]llo*", false, "hillo/1.0", false},
		{"[]h]ello", false, hello, true},
		{"[!]h]ello", false, hello, false},
		{"[^h]ello", false, hello, true},
		{"[hello", false, hello, false},
		{"hello[", false, hello, false},
		{"(", false, hello, false},
		{`hello\*`, false, hello, false},
		{"hello/2.0@*", false, "hello/2.0", false},
		{"hello/2.0@*", false, "hello/2.0@acme/stable", true},
		{"hello/2.0", false, "hello/2.0@acme/stable", true},
		{"*@acme/*", false, "hello/2.0@acme/stable", true},
		{"*@acme/*", false, "hello/2.0@acme2/stable", false},
		{"hello/2.0@solo", false, "hello/2.0@solo", true},
		{"hello/2.0@solo/", false, "hello/2.0@solo", false},
		{"zlib/*", false, "zlib/1.3", true},
		{"zlib/*", false, "zlib-ng/2.0", false},
		{"zlib", false, "zlib-ng/2.0", false},
		{"hello/1.0+*", false, "hello/1.0+build.5", true},
		{"png++/*", false, "png++/0.2", true},
		{"name/*@u1/c1", true, "name/1.0@u1/c1", true},
		{"name/*@u1/c1", true, "name/1.0@u1/c2", false},
		{"????", false, nouc, true},
		{"?????", false, hello, true},
		{"????????", false, nouc, true},
		{"ſtable/1.0", false, "stable/1.0", true},
		{"ſtable/1.0", true, "stable/1.0", false},
		{"zlib/ä", false, "zlib/1", false},
		{"zlib/?", false, "zlib/1", true},
	}
	for _, tt := range tests {
		p, err := ParsePattern(tt.pattern, !tt.exact)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tt.pattern, err)
			continue
		}
		r := mustRef(t, tt.ref)
		if got := p.Match(r); got != tt.want {
			t.Errorf("pattern %q (exact case %v) matches %s: got %v, want %v", tt.pattern, tt.exact, r, got, tt.want)
		}
		text := r.String()
		if p.IgnoreCase() {
			text = strings.ToLower(text)
		}
		if tt.want && !strings.HasPrefix(text, p.Prefix()) {
			t.Errorf("pattern %q has prefix %q, which %s lacks", tt.pattern, p.Prefix(), r)
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"too long":  strings.Repeat("a", maxPatternSize+1),
		"not UTF-8": "zlib/\xff*",
	} {
		if _, err := ParsePattern(text, true); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if _, err := ParsePattern(strings.Repeat("*", maxPatternSize), true); err != nil {
		t.Errorf("4 KiB of stars: %v", err)
	}
}

func TestPatternPrefix(t *testing.T) {
	tests := []struct {
		pattern    string
		ignoreCase bool
		want       string
	}{
		{"", true, ""},
		{"*", true, ""},
		{"*zlib", true, ""},
		{"zlib/*", true, "zlib/"},
		{"ZLib/*", true, "zlib/"},
		{"ZLib/*", false, "ZLib/"},
		{"zlib", true, "zlib"},
		{"zlib/1.0@_/_", true, "zlib/1.0@_/_"},
		{"z[l]ib/?", true, "zlib/"},
		{"z[lL]ib/?", true, "zlib/"},
		{"z[lL]ib/?", false, "z"},
		{"z[lm]ib/?", true, "z"},
		{"zlib[", true, "zlib["},
		{"zlib/1.0#0", true, "zlib/1.0"},
		{"zlib/ä", true, "zlib/"},
	}
	for _, tt := range tests {
		p, err := ParsePattern(tt.pattern, tt.ignoreCase)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Prefix(); got != tt.want {
			t.Errorf("prefix of %q (ignore case %v): got %q, want %q", tt.pattern, tt.ignoreCase, got, tt.want)
		}
	}
}

// TestPatternLong checks patterns around the length of the longest reference, where the
// states fill several words.
func TestPatternLong(t *testing.T) {
	name := strings.Repeat("n", 99)
	r := mustRef(t, name+"/"+strings.Repeat("1", 100))
	for _, tt := range []struct {
		pattern string
		want    bool
	}{
		{r.String(), true},
		{r.String() + "#0", true},
		{r.String() + "#00", false},
		{strings.Repeat("?", 202), true},
		{strings.Repeat("?", 203), false},
		{strings.Repeat("*n", 99) + "/" + strings.Repeat("*1", 100), true},
		{strings.Repeat("*n", 100) + "*", false},
		{strings.Repeat("n", 63) + "*", true},
		{strings.Repeat("n", 64) + "*", true},
		{strings.Repeat("n", 65) + "*1", true},
		{strings.Repeat("*?", 2000), false},
	} {
		p, err := ParsePattern(tt.pattern, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(r); got != tt.want {
			t.Errorf("pattern %.40q…: got %v, want %v", tt.pattern, got, tt.want)
		}
	}
}

// naiveMatch is the definition: the pattern, by simple recursion, against every partial sum.
func naiveMatch(elements []element, trailing bool, r Ref) bool {
	sums := []string{r.Name, "/", r.Version}
	if r.User != "" {
		sums = append(sums, "@", r.User)
	}
	if r.Channel != "" {
		sums = append(sums, "/", r.Channel)
	}
	sums = append(sums, "#", "0")
	var glob func(i int, s string) bool
	glob = func(i int, s string) bool {
		if i == len(elements) {
			return s == "" || trailing
		}
		if s != "" && elements[i].has(s[0]) && glob(i+1, s[1:]) {
			return true
		}
		return s != "" && elements[i].star && glob(i, s[1:])
	}
	sum := ""
	for _, token := range sums {
		sum += token
		if glob(0, sum) {
			return true
		}
	}
	return false
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"zlib/*", "*@acme/*", "[!a-c]*#0", "[", "a[]", "*a*b?", "h[ae]llo*"} {
		f.Add(s, "zlib", "1.0", "acme", "stable", true)
		f.Add(s, "hello", "2", "", "", false)
	}
	f.Fuzz(func(t *testing.T, text, name, version, user, channel string, ignoreCase bool) {
		p, err := ParsePattern(text, ignoreCase)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		r, err := NewRef(name, version, user, channel)
		if err != nil {
			return
		}
		got := p.Match(r)
		if len(text) <= 12 { // the recursion is exponential
			elements, trailing := parseFnmatch(text, ignoreCase)
			if want := text == "" || naiveMatch(elements, trailing, r); got != want {
				t.Fatalf("pattern %q, %s: got %v, want %v", text, r, got, want)
			}
		}
		if s := r.String(); got && !strings.HasPrefix(s, p.Prefix()) && !strings.HasPrefix(strings.ToLower(s), p.Prefix()) {
			t.Fatalf("pattern %q matches %s without its prefix %q", text, r, p.Prefix())
		}
	})
}

func BenchmarkPatternMatch(b *testing.B) {
	r := mustRef(b, "boost-ext-ut/1.1.9@acme/stable")
	for _, text := range []string{"zlib/*", "*zlib*", strings.Repeat("*a", 100)} {
		p, err := ParsePattern(text, true)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(p.Prefix()+text[:4], func(b *testing.B) {
			for b.Loop() {
				p.Match(r)
			}
		})
	}
}
