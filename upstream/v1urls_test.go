package upstream

import (
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	tests := map[string]struct{ configured, raw, want string }{
		"relative, slash":          {"http://h.test/some/path/", "v1/files/x", "http://h.test/some/path/v1/files/x"},
		"relative, no slash":       {"http://h.test/some/path", "v1/files/x", "http://h.test/some/v1/files/x"},
		"relative, no path":        {"http://h.test", "v1/files/x", "http://h.test/v1/files/x"},
		"root-relative":            {"http://h.test/some/path", "/some/path/v1/files/x", "http://h.test/some/path/v1/files/x"},
		"absolute":                 {"http://h.test", "http://s3.test/x?X-Amz-Signature=a%2Fb", "http://s3.test/x?X-Amz-Signature=a%2Fb"},
		"escapes stay":             {"http://h.test", "/v1/files/a%20b+c/x?signature=a.b", "http://h.test/v1/files/a%20b+c/x?signature=a.b"},
		"scheme-relative":          {"http://h.test", "//other.test/x", "http://other.test/x"},
		"fragment":                 {"http://h.test", "/x#y", "http://h.test/x"},
		"localhost from elsewhere": {"http://h.test:9300", "http://localhost:9300/v1/files/x?signature=a", "http://h.test:9300/v1/files/x?signature=a"},
		"localhost below a path":   {"https://h.test/conan", "http://127.0.0.1:9300/v1/files/x", "https://h.test/conan/v1/files/x"},
		"localhost and its path":   {"https://h.test/conan", "http://127.0.0.1:9300/conan/v1/files/x", "https://h.test/conan/v1/files/x"},
		"localhost of localhost":   {"http://127.0.0.1:9300", "http://localhost:9301/x", "http://localhost:9301/x"},
		"http behind https":        {"https://h.test", "http://h.test:80/v1/files/x", "https://h.test/v1/files/x"},
		"foreign http":             {"https://h.test", "http://s3.test/x", "error"},
		"foreign https":            {"http://h.test", "https://s3.test/x", "https://s3.test/x"},
		"ftp":                      {"http://h.test", "ftp://h.test/x", "error"},
		"credentials":              {"http://h.test", "http://a:b@h.test/x", "error"},
		"nonsense":                 {"http://h.test", "http://[", "error"},
		"opaque":                   {"http://h.test", "http:x", "error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := New(Options{URL: test.configured})
			if err != nil {
				t.Fatal(err)
			}
			got := "error"
			if u, err := r.complete(test.raw); err == nil {
				got = u.String()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzComplete(f *testing.F) {
	for _, seed := range []string{"v1/files/x", "/x?signature=a", "http://localhost/x", "//h/x", "http:x", "http://a@b/%zz", "../../x"} {
		f.Add(seed)
	}
	r, err := New(Options{URL: "https://h.test/base"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := r.complete(raw)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Contains(u.String(), "#") {
			t.Errorf("%q became %v", raw, u)
		}
	})
}
