package conan

import "testing"

func TestParseRevision(t *testing.T) {
	for text, want := range map[string]string{
		"zlib/1.3":                         "zlib/1.3",
		"zlib/1.3@":                        "zlib/1.3",
		"zlib/1.3@acme/stable#r1":          "zlib/1.3@acme/stable#r1",
		"zlib/1.3#r1%1690000000.5":         "zlib/1.3#r1",
		"zlib/1.3:p1":                      "zlib/1.3:p1",
		"zlib/1.3#r1:p1":                   "zlib/1.3#r1:p1",
		"zlib/1.3#r1%1.5:p1#x1%1690000000": "zlib/1.3#r1:p1#x1",
		"zlib":                             "",
		"zlib/1.3#":                        "",
		"zlib/1.3#%1":                      "",
		"zlib/1.3:":                        "",
		"zlib/1.3:p1#":                     "",
		"zlib/1.3#r1#r2":                   "",
		"zlib/1.3#r1:p1:p2":                "",
		"zlib/*":                           "",
		"zlib/1.3#latest!":                 "",
	} {
		rev, err := ParseRevision(text)
		if got := rev.String(); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}
