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
	"conanproxy/internal/netguard"
)

// expect is the kind of answer that a question needs.
type expect int

const (
	expectObject expect = iota // a JSON object
	expectFile                 // a whole file
	expectRest                 // the rest of a file: 206, or 200 from its beginning
	expectToken                // text/plain with a token
)

// classify is the one place that decides what an answer is worth by its status, content type and
// coding. It returns nil if the body may be used as what was expected, else why not; then the body
// is read up to a sentence for users. checkObject and checkStart look at the content.
func (r *Remote) classify(resp *http.Response, want expect, name string) *failure {
	if f := r.classifyStatus(resp, want); f != nil {
		return f
	}
	media := mediaType(resp)
	coding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	switch want {
	case expectObject:
		if isHTML(media) {
			return foreign("answered with a web page instead of JSON")
		}
		if !isJSON(media) {
			return badAnswer("answered with %s instead of JSON", strconv.Quote(clip(media)))
		}
		if coding != "" && coding != "identity" && coding != "gzip" {
			return badAnswer("answered in the coding %q", clip(coding))
		}
	case expectToken:
		if isHTML(media) {
			return foreign("answered the login with a web page")
		}
	case expectFile, expectRest:
		if isHTML(media) && !isPage(name) {
			return pageInstead("the file", want)
		}
		if coding != "" && coding != "identity" {
			return badAnswer("answered a file in the coding %q", clip(coding))
		}
	}
	return nil
}

func (r *Remote) classifyStatus(resp *http.Response, want expect) *failure {
	status := resp.StatusCode
	after := retryAfter(resp.Header, r.now())
	switch {
	case status == http.StatusOK, want == expectRest && status == http.StatusPartialContent:
		return nil
	case want == expectToken && status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound, status == http.StatusGone:
		return errNotThere
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && after > 0:
		reason := fmt.Sprintf("asks for a pause (%d)", status)
		return &failure{kind: kindThrottled, reason: reason, retryAfter: after, transient: after > 0}
	case status == http.StatusProxyAuthRequired:
		return errProxyLogin
	case status == http.StatusRequestTimeout:
		return &failure{kind: kindTimeout, reason: "it did not get the request in time (408)", transient: true}
	case status == http.StatusRequestedRangeNotSatisfiable:
		return badAnswer("has less of the file than it sent before (416)")
	case status == http.StatusUnauthorized:
		anonymous := r.tokens.user == ""
		return &failure{
			kind: kindDenied, reason: "asks for a login, or refuses the configured one (401)",
			permanent: anonymous, refused: anonymous,
		}
	case status == http.StatusFailedDependency: // another conanproxy, which says why trying again does not help
		return &failure{kind: kindDenied, permanent: true, reason: withSentence("cannot give it (424)", r.sentence(resp))}
	case status >= 400 && status < 500:
		return r.refusal(resp, after)
	case status == http.StatusNetworkAuthenticationRequired:
		return foreign("is behind a network that asks for a sign-in (511)")
	case status >= 500:
		return r.serverError(resp, after)
	}
	return badAnswer("answered with the unexpected status %d", status)
}

// refusal is an answer that refuses one thing. A page may be that of a firewall, which soon thinks
// otherwise: it is not remembered.
func (r *Remote) refusal(resp *http.Response, after time.Duration) *failure {
	text := "refuses it"
	if resp.StatusCode == http.StatusForbidden {
		text = "forbids access"
	}
	final := !isHTML(mediaType(resp)) && after == 0
	f := &failure{kind: kindDenied, retryAfter: after, permanent: final, refused: final}
	f.reason = withSentence(fmt.Sprintf("%s (%d)", text, resp.StatusCode), r.sentence(resp))
	return f
}

// serverError is an answer of 5xx. Unless it says that the server is gone or overloaded, it comes
// from an application that failed at this one thing.
func (r *Remote) serverError(resp *http.Response, after time.Duration) *failure {
	status := resp.StatusCode
	down := isDown(status)
	one := !down && after == 0
	f := &failure{
		kind: kindServerError, retryAfter: after, refused: one, permanent: one,
		transient: down || status == http.StatusInternalServerError,
	}
	f.reason = withSentence(fmt.Sprintf("failed with status %d", status), r.sentence(resp))
	return f
}

func withSentence(reason, sentence string) string {
	if sentence == "" {
		return reason
	}
	return reason + ": " + sentence
}

// isDown tells the server errors of a server that is gone or overloaded; 520 to 530 are those of a
// CDN that does not reach its origin.
func isDown(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return status >= 520 && status <= 530
}

// errProxyLogin is a 407, which only the egress proxy sends.
var errProxyLogin = &failure{
	kind: kindConnection, permanent: true,
	reason: "the HTTP proxy on the way asks for a login (407); put user and password into HTTPS_PROXY and HTTP_PROXY",
}

// classifyTransport says why there is no answer at all. The caller's own end is passed on.
func (r *Remote) classifyTransport(ctx context.Context, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused *netguard.RefusedError
	var timeout net.Error
	var notFound *net.DNSError
	var untrusted *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &refused):
		return &failure{kind: kindBadAnswer, reason: "points to " + refused.Error(), permanent: true, err: err}
	case errors.As(err, &untrusted), errors.As(err, &unknown):
		return &failure{kind: kindConnection, reason: "its TLS certificate is not trusted", permanent: true, err: err}
	case errors.As(err, &record):
		return &failure{kind: kindConnection, reason: "it does not speak TLS", permanent: true, err: err}
	case errors.As(err, &notFound):
		return &failure{kind: kindConnection, reason: "its host name cannot be resolved", transient: true, err: err}
	case errors.Is(err, errSilence):
		return &failure{kind: kindTimeout, reason: fmt.Sprintf("it was silent for %s", r.timeout), err: err}
	case errors.As(err, &timeout) && timeout.Timeout():
		return &failure{kind: kindTimeout, reason: "it did not answer in time", err: err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{kind: kindConnection, reason: "connection refused", transient: true, err: err}
	}
	return &failure{kind: kindConnection, reason: "the connection failed", transient: true, err: err}
}

// checkStart looks at the first bytes of a file before any of them is handed out.
func checkStart(name string, head []byte) *failure {
	if !conan.IsMetadata(name) && looksLikeHTML(head) {
		return pageInstead(name, expectFile)
	}
	if conan.IsArchive(name) {
		magic := map[string]string{".tgz": "\x1f\x8b", ".txz": "\xfd7zXZ\x00", ".tzst": "\x28\xb5\x2f\xfd"}[path.Ext(name)]
		if !strings.HasPrefix(string(head), magic) {
			return badAnswer("%s does not begin like such an archive", name)
		}
	}
	return nil
}

// pageInstead is a web page in the place of a file: a refusal of that file, unless Remote.pages
// finds that many are answered so. In the place of the rest of a file it refuses nothing, since the
// beginning was given.
func pageInstead(of string, want expect) *failure {
	f := foreign("answered with a web page instead of %s", of)
	f.refused, f.permanent = want == expectFile, want == expectFile
	return f
}

// looksLikeHTML tells the beginning of a web page by its bytes.
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

// mediaType is the content type of an answer without its parameters.
func mediaType(resp *http.Response) string {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return strings.ToLower(resp.Header.Get("Content-Type"))
	}
	return media
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
