package upstream

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// fileURLs are those of a folder; they may be signed and die early.
type fileURLs struct {
	byName  map[string]*url.URL
	askedAt time.Time
}

// locate finds a listed file by the remembered URLs, which are asked for again when they are old or
// lack the file, or when they did not work and have not been renewed since. It is for one
// goroutine.
func (v v1) locate(f folder, name string) locate {
	var tried time.Time // when the URLs were asked for that were used last
	return func(ctx context.Context, again bool) (*url.URL, error) {
		urls, ok := v.folders.Load().urls.Get(f)
		isOld := !ok || v.now().Sub(urls.askedAt) >= folderMemory || urls.byName[name] == nil
		if isOld || again && !urls.askedAt.After(tried) {
			var err error
			if urls, err = v.askURLs(ctx, f, urls.askedAt); err != nil {
				return nil, err
			}
		}
		tried = urls.askedAt
		u := urls.byName[name]
		if u == nil {
			return nil, errNotThere
		}
		return u, nil
	}
}

// askURLs asks for the URLs of the files of a folder, once for all callers at a time, unless there
// are some that were asked for after since.
func (v v1) askURLs(ctx context.Context, f folder, since time.Time) (fileURLs, error) {
	memory := v.folders.Load()
	return memory.asks.do(ctx, f.path(), v.sharedTimeout(), func(ctx context.Context) (fileURLs, error) {
		if urls, ok := memory.urls.Get(f); ok && urls.askedAt.After(since) {
			return urls, nil // another call has ended meanwhile
		}
		return v.fetchURLs(ctx, f)
	})
}

func (v v1) fetchURLs(ctx context.Context, f folder) (fileURLs, error) {
	memory := v.folders.Load()
	var answer map[string]json.RawMessage
	if err := v.object(ctx, f.path()+"/download_urls", nil, &answer); err != nil {
		return fileURLs{}, err
	}
	urls := fileURLs{byName: make(map[string]*url.URL, len(answer)), askedAt: v.now()}
	for name, raw := range answer {
		var text string
		if conan.CheckFileName(name, f.pid != "") != nil || json.Unmarshal(raw, &text) != nil {
			continue
		}
		u, err := v.complete(text)
		if err != nil {
			return fileURLs{}, err
		}
		urls.byName[name] = u
	}
	memory.urls.Add(f, urls)
	return urls, nil
}

// complete makes the URL of a file from the text that a v1 server hands out: absolute,
// root-relative or relative. Conan's client joins it to the remote's URL exactly as it was
// configured, so a relative one loses the last segment of a path without a slash at its end; so
// does this.
//
// Two common mistakes of servers behind a reverse proxy are put right: a URL that names
// localhost while the server is not there, and http where the server is reached by https.
func (r *Remote) complete(raw string) (*url.URL, error) {
	relative, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return nil, badAnswer("handed out a file URL that is not a URL")
	}
	u := r.configured.ResolveReference(relative)
	u.Fragment, u.RawFragment = "", ""
	if err := checkTarget(u); err != nil {
		return nil, err
	}
	switch {
	case isLoopback(u.Hostname()) && !isLoopback(r.base.Hostname()):
		if !strings.HasPrefix(u.Path, r.base.Path+"/") {
			u = u.JoinPath() // a copy
			u.Path, u.RawPath = r.base.Path+u.Path, ""
		}
		u.Scheme, u.Host = r.base.Scheme, r.base.Host
	case r.base.Scheme == "https" && u.Scheme == "http" && strings.EqualFold(u.Hostname(), r.base.Hostname()):
		u.Scheme, u.Host = r.base.Scheme, r.base.Host
	case r.base.Scheme == "https" && u.Scheme == "http":
		return nil, badAnswer("hands out file URLs at http://%s although it is reached by https", u.Host)
	}
	return u, nil
}
