package upstream

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"conanproxy/internal/conan"
)

func TestSentence(t *testing.T) {
	tests := map[string]struct{ media, body, want string }{
		"artifactory":        {"application/json", `{"errors":[{"status":403,"message":"Blocked by policy."}]}`, "forbids access (403): Blocked by policy"},
		"gitlab":             {"application/json", `{"message":"403 Forbidden"}`, "forbids access (403): 403 Forbidden"},
		"error":              {"application/json", `{"error":"insufficient_scope"}`, "forbids access (403): insufficient_scope"},
		"other types":        {"application/json", `{"errors":["x"],"message":"no"}`, "forbids access (403): no"},
		"plain text":         {"text/plain", "Permission denied\r\n for  user\n", "forbids access (403): Permission denied for user"},
		"web page":           {"text/html", "<html>no</html>", "forbids access (403)"},
		"page as text":       {"text/plain", "<!DOCTYPE html>no", "forbids access (403)"},
		"unknown type":       {"application/octet-stream", "no", "forbids access (403)"},
		"empty":              {"text/plain", "", "forbids access (403)"},
		"control characters": {"text/plain", "a\x1b[31mb\u202ec\u0085d\x00", "forbids access (403): a[31mbc d"},
		"no UTF-8":           {"text/plain", "a\xff\xfeb", "forbids access (403): ab"},
		"long":               {"text/plain", strings.Repeat("ä", 400), "forbids access (403): " + strings.Repeat("ä", 150) + "…"},
		"URLs with secrets":  {"text/plain", "see https://u:p@h/x?token=abc for more", "forbids access (403): see https://h/x for more"},
		"our password":       {"text/plain", "user me with s3cret may not", "forbids access (403)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := newFake(t, Options{Username: "me", Password: "s3cret"}, func(w http.ResponseWriter, req *http.Request) {
				if strings.HasSuffix(req.URL.Path, "/users/authenticate") {
					whole("T0ken", "Content-Type", "text/plain")(w, req)
					return
				}
				w.Header().Set("Content-Type", test.media)
				w.WriteHeader(http.StatusForbidden)
				w.Write([]byte(test.body))
			})
			_, err := r.Search(t.Context(), conan.Pattern{})
			var u *conan.UnavailableError
			if !errors.As(err, &u) || u.Reason != test.want {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzCleanSentence(f *testing.F) {
	f.Add("see https://u:p@h/x?token=abc\x1b[31m")
	f.Add("\u202e\xff" + strings.Repeat("ä", 400))
	f.Fuzz(func(t *testing.T, text string) {
		got := cleanSentence(text)
		if len(got) > maxSentence+len("…") || !utf8.ValidString(got) {
			t.Fatalf("%q", got)
		}
		for _, c := range got {
			if c != ' ' && !unicode.IsPrint(c) {
				t.Fatalf("%q holds %U", got, c)
			}
		}
	})
}
