package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"conanproxy/internal/conan"
)

// expect is what a question wants to see.
type expect int

const (
	expectObject expect = iota // a JSON object
	expectFile                 // a whole file
	expectRest                 // the rest of a file: 206, or 200 from its beginning
	expectToken                // text/plain with a token
)

// classify is the one place that says what an answer is worth: its status, its content type
// and its coding. It returns nil if the body may be used as what was expected, else why not.
// What the body holds is looked at by checkObject and checkStart.
func classify(resp *http.Response, want expect, name string, now time.Time) *failure {
	if f := classifyStatus(resp, want, now); f != nil {
		return f
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = strings.ToLower(resp.Header.Get("Content-Type"))
	}
	coding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	switch want {
	case expectObject:
		if !isJSON(media) {
			return bad("answered with %s instead of JSON", describe(media))
		}
		if coding != "" && coding != "identity" && coding != "gzip" {
			return bad("answered in the coding %q", clip(coding))
		}
	case expectToken:
		if isHTML(media) {
			return bad("answered the login with a web page")
		}
	case expectFile, expectRest:
		if isHTML(media) && !isPage(name) {
			return bad("answered with a web page instead of the file")
		}
		if coding != "" && coding != "identity" {
			return bad("answered a file in the coding %q", clip(coding))
		}
	}
	return nil
}

func classifyStatus(resp *http.Response, want expect, now time.Time) *failure {
	status := resp.StatusCode
	after := retryAfter(resp.Header, now)
	switch {
	case status == http.StatusOK, want == expectRest && status == http.StatusPartialContent:
		return nil
	case want == expectToken && status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound, status == http.StatusGone:
		return errNotThere
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && after > 0:
		return &failure{kind: kindThrottled, reason: fmt.Sprintf("asks for a pause (%d)", status), retryAfter: after, transient: after > 0}
	case status == http.StatusUnauthorized:
		return &failure{kind: kindDenied, reason: "asks for a login, or refuses the configured one (401)"}
	case status == http.StatusForbidden:
		return &failure{kind: kindDenied, reason: "forbids access (403)", retryAfter: after}
	case status >= 500:
		return &failure{kind: kindServerError, reason: fmt.Sprintf("failed with status %d", status), retryAfter: after, transient: cures(status)}
	}
	return bad("answered with the unexpected status %d", status)
}

// cures tells the server errors that another attempt may cure.
func cures(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// classifyTransport says why there is no answer at all. The caller's own end is passed on.
func classifyTransport(ctx context.Context, err error, silence time.Duration) error {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var timeout net.Error
	var notFound *net.DNSError
	var untrusted *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &untrusted), errors.As(err, &unknown):
		return &failure{kind: kindConnection, reason: "its TLS certificate is not trusted", err: err}
	case errors.As(err, &record):
		return &failure{kind: kindConnection, reason: "it does not speak TLS", err: err}
	case errors.As(err, &notFound):
		return &failure{kind: kindConnection, reason: "its host name cannot be resolved", transient: true, err: err}
	case errors.Is(err, errSilence), errors.As(err, &timeout) && timeout.Timeout():
		return &failure{kind: kindTimeout, reason: fmt.Sprintf("it was silent for %s", silence), err: err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{kind: kindConnection, reason: "connection refused", transient: true, err: err}
	case errors.Is(err, errGuarded):
		return &failure{kind: kindBadAnswer, reason: errGuarded.Error(), harmless: true, err: err}
	}
	return &failure{kind: kindConnection, reason: "the connection failed", transient: true, err: err}
}

// checkStart looks at the first bytes of a file before any of them is handed out.
func checkStart(name string, head []byte) *failure {
	if conan.IsArchive(name) {
		magic := map[string]string{".tgz": "\x1f\x8b", ".txz": "\xfd7zXZ\x00", ".tzst": "\x28\xb5\x2f\xfd"}[path.Ext(name)]
		if !strings.HasPrefix(string(head), magic) {
			return bad("%s does not begin like such an archive", name)
		}
		return nil
	}
	if !conan.IsMetadata(name) && looksLikeHTML(head) {
		return bad("answered with a web page instead of %s", name)
	}
	return nil
}

// looksLikeHTML tells the beginning of a web page, whatever its content type.
func looksLikeHTML(head []byte) bool {
	text := strings.ToLower(strings.TrimLeft(string(head), "\ufeff \t\r\n"))
	return strings.HasPrefix(text, "<!doctype html") || strings.HasPrefix(text, "<html")
}

func isJSON(media string) bool {
	switch media {
	case "application/json", "text/json", "application/octet-stream", "":
		return true // the last two are sent by mistake; what the body holds decides
	}
	return strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

func isHTML(media string) bool { return media == "text/html" || media == "application/xhtml+xml" }

// isPage tells the metadata files that are web pages by themselves.
func isPage(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return conan.IsMetadata(name) && (ext == ".html" || ext == ".htm" || ext == ".xhtml")
}

func describe(media string) string {
	if isHTML(media) {
		return "a web page"
	}
	return strconv.Quote(clip(media))
}

func bad(format string, args ...any) *failure {
	return &failure{kind: kindBadAnswer, reason: fmt.Sprintf(format, args...)}
}

// retryAfter reads Retry-After, seconds or a date; 0 if there is none that can be used.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// clip bounds untrusted text that is quoted in an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
