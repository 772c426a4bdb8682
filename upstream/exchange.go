package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
)

const (
	userAgent    = "conanproxy"
	maxRedirects = 5
)

// request is one question over the wire. Nothing of a client is in it.
type request struct {
	method string // GET or HEAD
	url    *url.URL
	header http.Header // Accept-Encoding, Range, If-Range
	auth   string      // Authorization, for a login; else empty
	open   bool        // send no Authorization at all
}

// send asks and returns an answer of any status, which the caller judges and closes. If the
// token has expired it is renewed, once. Errors are a *failure or the end of ctx.
func (r *Remote) send(ctx context.Context, req request) (*http.Response, error) {
	auth := req.auth
	if auth == "" && !req.open {
		var err error
		if auth, err = r.tokens.current(ctx); err != nil {
			return nil, err
		}
	}
	resp, sent, err := r.follow(ctx, req, auth)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !sent || req.auth != "" {
		return resp, err
	}
	renewed, err := r.tokens.renew(ctx, auth)
	if err != nil {
		discard(resp.Body)
		return nil, err
	}
	if renewed == auth {
		return resp, nil
	}
	discard(resp.Body)
	resp, _, err = r.follow(ctx, req, renewed)
	return resp, err
}

// follow asks and follows redirects. The Authorization goes to the configured host, port and
// scheme only, never beside a signature, and once dropped it stays dropped. sent tells
// whether the last hop had it.
func (r *Remote) follow(ctx context.Context, req request, auth string) (resp *http.Response, sent bool, err error) {
	if !sameOrigin(req.url, r.base) {
		auth = ""
	}
	target := req.url
	for hop := 0; ; hop++ {
		sent = auth != "" && !isSigned(target)
		header := req.header.Clone()
		if header == nil {
			header = make(http.Header)
		}
		if sent {
			header.Set("Authorization", auth)
		}
		resp, err = r.roundTrip(ctx, req.method, target, header)
		if err != nil || !isRedirect(resp) {
			return resp, sent, err
		}
		location := resp.Header.Get("Location")
		discard(resp.Body)
		if hop == maxRedirects {
			return nil, false, bad("redirects more than %d times", maxRedirects)
		}
		next, err := redirect(target, location)
		if err != nil {
			return nil, false, err
		}
		if !sameOrigin(next, target) {
			auth = ""
		}
		target = next
	}
}

// roundTrip is one request and the head of its answer, under a watchdog that the answer's body keeps.
func (r *Remote) roundTrip(ctx context.Context, method string, target *url.URL, header http.Header) (*http.Response, error) {
	header.Set("User-Agent", userAgent)
	header.Set("Accept", "*/*")
	dog := watch(ctx, r.timeout+dialTimeout)
	req := (&http.Request{Method: method, URL: target, Host: target.Host, Header: header}).WithContext(dog.ctx)
	began := r.now()
	resp, err := r.transport.RoundTrip(req)
	dog.asleep()
	took := r.now().Sub(began)
	r.metrics.took(r.name, took)
	if err != nil {
		err = dog.cause(err)
		dog.released()
		r.log.Debug("upstream question failed", zap.String("method", method), zap.String("host", target.Host),
			zap.String("path", target.Path), zap.Duration("took", took), zap.Error(err))
		return nil, classifyTransport(ctx, err, r.timeout)
	}
	r.log.Debug("upstream question", zap.String("method", method), zap.String("host", target.Host),
		zap.String("path", target.Path), zap.Int("status", resp.StatusCode), zap.Duration("took", took))
	dog.silence = r.timeout
	resp.Body = &watchedBody{ReadCloser: resp.Body, dog: dog}
	return resp, nil
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// redirect is the target of a redirect, or why it is not followed.
func redirect(from *url.URL, location string) (*url.URL, error) {
	next, err := from.Parse(location)
	if err != nil {
		return nil, bad("redirects to something that is not a URL")
	}
	if err := checkTarget(next); err != nil {
		return nil, err
	}
	if from.Scheme == "https" && next.Scheme == "http" {
		return nil, bad("redirects from https to http")
	}
	return next, nil
}

// checkTarget accepts http and https URLs with a host and without credentials.
func checkTarget(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return bad("points to a URL that is not plain http or https (%q)", clip(u.Scheme))
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// isSigned tells a URL that carries its own permission, such as conan_server's
// (signature=…) or those of object stores (X-Amz-Signature=…, X-Goog-Signature=…).
func isSigned(u *url.URL) bool {
	if u.RawQuery == "" {
		return false
	}
	for key := range u.Query() {
		if strings.HasSuffix(strings.ToLower(key), "signature") {
			return true
		}
	}
	return false
}

// address makes a URL of the upstream: base, then an escaped path that begins with a slash.
func (r *Remote) address(path string, query url.Values) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(r.base.String(), "/") + path)
	if err != nil {
		return nil, fmt.Errorf("making a URL for %q: %w", clip(path), err)
	}
	u.RawQuery = query.Encode()
	return u, nil
}
