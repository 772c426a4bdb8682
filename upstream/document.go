package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxDocument      = 32 << 20 // of JSON, unpacked
	documentDeadline = 5 * time.Minute
)

// object asks for a JSON object and decodes it into out. Errors are a *failure or the end of ctx.
func (r *Remote) object(ctx context.Context, path string, query url.Values, out any) error {
	u, err := r.address(path, query)
	if err != nil {
		return err
	}
	body, err := r.document(ctx, u, documentLimits{want: expectObject, most: maxDocument})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return errShape
	}
	return nil
}

var errShape = badAnswer("answered with JSON of another shape than the protocol's")

// documentLimits describe a small answer.
type documentLimits struct {
	want expect
	name string // of a file
	most int64
}

// document asks for something small and returns it whole. A JSON object is checked for being one.
func (r *Remote) document(ctx context.Context, u *url.URL, limits documentLimits) (body []byte, err error) {
	release, err := r.connection(ctx, documentLane)
	if err != nil {
		return nil, err
	}
	defer release()
	err = r.try(ctx, func(ctx context.Context) error {
		body, err = r.documentOnce(ctx, u, limits)
		r.count(err)
		return err
	})
	return body, err
}

func (r *Remote) documentOnce(ctx context.Context, u *url.URL, limits documentLimits) ([]byte, error) {
	whole, cancel := context.WithTimeout(ctx, documentDeadline)
	defer cancel()
	coding := "identity"
	if limits.want == expectObject {
		coding = "gzip"
	}
	resp, err := r.send(whole, request{url: u, header: http.Header{"Accept-Encoding": {coding}}})
	if err != nil {
		return nil, tooSlow(ctx, err)
	}
	defer discard(resp.Body)
	if f := r.classify(resp, limits.want, limits.name); f != nil {
		return nil, r.pages.classify(u.Path, f)
	}
	body, err := readBounded(resp, limits.most)
	if err != nil {
		return nil, tooSlow(ctx, r.classifyBody(whole, err))
	}
	if limits.want == expectObject {
		return checkObject(body)
	}
	if f := r.pages.classify(u.Path, checkStart(limits.name, body)); f != nil {
		return nil, f
	}
	return body, nil
}

// tooSlow tells the end of a document's own deadline from the end of the caller's.
func tooSlow(ctx context.Context, err error) error {
	if ctx.Err() == nil && isCallerGone(err) {
		return &failure{kind: kindTimeout, reason: "it takes too long for a small answer", err: err}
	}
	return err
}

func readBounded(resp *http.Response, most int64) ([]byte, error) {
	var body io.Reader = resp.Body
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, badAnswer("answered with broken gzip")
		}
		body = unpacked
	}
	b, err := io.ReadAll(io.LimitReader(body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, badAnswer("answered with more than %d bytes", most)
	}
	return b, nil
}

// classifyBody says why a body ended before its end.
func (r *Remote) classifyBody(ctx context.Context, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errSilence) {
		return r.classifyTransport(ctx, err)
	}
	return &failure{kind: kindCut, reason: "the transfer was cut", transient: true, err: err}
}

// checkObject returns body without a byte order mark if it is one JSON object.
func checkObject(body []byte) ([]byte, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if looksLikeHTML(body[:min(len(body), 64)]) {
		return nil, foreign("answered with a web page instead of JSON")
	}
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return nil, badAnswer("answered with something that is not a JSON object")
	}
	return body, nil
}
