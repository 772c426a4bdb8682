package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"go.uber.org/zap"
)

const (
	userAgent    = "conanproxy"
	maxRedirects = 5
)

// request is one question over the wire. Nothing of a client is in it.
type request struct {
	url    *url.URL
	header http.Header // Accept-Encoding, Range, If-Range
	auth   string      // Authorization, for a login; else empty
	open   bool        // send no Authorization at all
}

// send asks by GET and returns an answer of any status, which the caller classifies and closes. If
// the token has expired it is renewed, once. Errors are a *failure or the end of ctx.
func (r *Remote) send(ctx context.Context, req request) (*http.Response, error) {
	auth := req.auth
	if auth == "" && !req.open {
		var err error
		if auth, err = r.tokens.current(ctx); err != nil {
			return nil, err
		}
	}
	resp, sent, err := r.follow(ctx, req, auth)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || req.auth != "" || req.open {
		return resp, err
	}
	if !sent {
		return r.withoutLogin(resp)
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

// withoutLogin explains a 401 of another host than the configured one, which gets no credentials.
func (r *Remote) withoutLogin(resp *http.Response) (*http.Response, error) {
	u := resp.Request.URL
	if r.tokens.user == "" || isSigned(u) || r.getsCredentials(u) {
		return resp, nil
	}
	discard(resp.Body)
	return nil, &failure{
		kind: kindDenied, permanent: true,
		reason: fmt.Sprintf("its files are at %s://%s, which asks for a login; if that is the same server, add it to also_at", u.Scheme, u.Host),
	}
}

// follow asks and follows redirects. The Authorization goes to the configured origins only, never
// beside a signature, and once dropped it stays dropped. sent tells whether the last hop had it.
func (r *Remote) follow(ctx context.Context, req request, auth string) (resp *http.Response, sent bool, err error) {
	target := r.upgrade(req.url)
	for hop := 0; ; hop++ {
		if !r.getsCredentials(target) {
			auth = ""
		}
		sent = auth != "" && !isSigned(target)
		header := req.header.Clone()
		if header == nil {
			header = make(http.Header)
		}
		if sent {
			header.Set("Authorization", auth)
		}
		resp, err = r.roundTrip(ctx, target, header)
		if err != nil || !isRedirect(resp) {
			return resp, sent, err
		}
		location := resp.Header.Get("Location")
		discard(resp.Body)
		if hop == maxRedirects {
			return nil, false, badAnswer("redirects more than %d times", maxRedirects)
		}
		next, err := redirect(target, location)
		if err != nil {
			return nil, false, err
		}
		r.learnUpgrade(target, next)
		target = next
	}
}

// roundTrip is one request and the head of its answer, under a watchdog that the answer's body
// keeps.
func (r *Remote) roundTrip(ctx context.Context, target *url.URL, header http.Header) (*http.Response, error) {
	header.Set("User-Agent", userAgent)
	header.Set("Accept", "*/*")
	dog := watch(ctx, dialTimeout+r.firstByte)
	req := (&http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: header}).WithContext(dog.ctx)
	began := r.now()
	resp, err := r.transport.RoundTrip(req)
	dog.asleep()
	took := r.now().Sub(began)
	r.metrics.took(r.name, took)
	if err != nil {
		err = dog.cause(err)
		dog.released()
		r.log.Debug("upstream question failed", zap.String("host", target.Host),
			zap.String("path", target.Path), zap.Duration("took", took), zap.Error(err))
		return nil, r.atHost(target, r.classifyTransport(ctx, err))
	}
	r.log.Debug("upstream question", zap.String("host", target.Host),
		zap.String("path", target.Path), zap.Int("status", resp.StatusCode), zap.Duration("took", took))
	dog.silence = r.timeout
	resp.Body = &watchedBody{ReadCloser: resp.Body, dog: dog, received: r.metrics.received(r.name)}
	return resp, nil
}

// atHost names the host in a failure of another one than the configured.
func (r *Remote) atHost(target *url.URL, err error) error {
	f, ok := err.(*failure)
	if !ok || target.Hostname() == r.base.Hostname() {
		return err
	}
	named := *f
	named.reason = fmt.Sprintf("%s (at %s, where it sends for files)", f.reason, target.Host)
	return &named
}
