package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"conanproxy/internal/conan"
)

// document is a small answer that is rendered. It is never changed once it is kept.
type document struct {
	status      int
	contentType string
	header      []headerField
	body        []byte
	from        provenance // of a kept document; zero otherwise

	stamp   stamp
	expires time.Time
	stored  time.Time
}

// stamp tells whether something changed since an answer was begun that it may depend on.
type stamp struct {
	counter *atomic.Uint64
	value   uint64
}

func (s stamp) valid() bool { return s.counter.Load() == s.value }

type headerField struct{ name, value string }

// jsonDocument renders v, without a newline at its end.
func jsonDocument(v any) (*document, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("render JSON: %w", err)
	}
	return &document{
		status:      http.StatusOK,
		contentType: jsonType,
		header:      []headerField{{"Cache-Control", "no-cache"}},
		body:        bytes.TrimSuffix(b.Bytes(), []byte("\n")),
	}, nil
}

// documents keeps rendered answers in memory, "not found" among them. An answer is kept until the
// first of the origins it was made of expires, and until anything is published, removed or
// reconfigured here. Nothing whose loss would be wrong lives only in it.
type documents struct {
	cache   *ristretto.Cache[string, *document] // nil keeps nothing
	front   *ristretto.Cache[string, *frontAnswer]
	largest int64
	now     func() time.Time

	// How often something changed: in references of one hash, and in all.
	changes  conan.Changes
	any      atomic.Uint64
	settings atomic.Uint64 // only by forgetAll
}

// newDocuments makes a cache of that many bytes; 0 or less keeps nothing.
func newDocuments(memory int64, now func() time.Time) (*documents, error) {
	d := &documents{now: now, largest: memory / 16}
	if memory <= 0 {
		return d, nil
	}
	const usualSize = 1 << 10
	cache, err := ristretto.NewCache(&ristretto.Config[string, *document]{
		NumCounters:        max(10*memory/usualSize, 1000),
		MaxCost:            memory,
		BufferItems:        64,
		IgnoreInternalCost: true, // cost counts it
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: make the cache of rendered answers: %w", err)
	}
	d.cache = cache
	const frontCost = 1 << 10 // of an entry; its body is shared
	d.front, err = ristretto.NewCache(&ristretto.Config[string, *frontAnswer]{
		NumCounters:        max(memory/frontCost, 1000),
		MaxCost:            max(memory/(8*frontCost), 100), // an eighth of the memory, counted in entries
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: make the cache of rendered answers: %w", err)
	}
	return d, nil
}

// forgetAll makes everything that is kept, and everything that is being rendered now, invalid.
func (d *documents) forgetAll() {
	for i := range d.changes {
		d.changes[i].Add(1)
	}
	d.any.Add(1)
	d.settings.Add(1)
}

// forget makes invalid what depends on one reference: its own answers, and searches.
func (d *documents) forget(ref conan.Ref) {
	d.counter(ref).Add(1)
	d.any.Add(1)
}

// counter is that of the changes that an answer about ref depends on; of a search, which has none, that of all changes.
func (d *documents) counter(ref conan.Ref) *atomic.Uint64 {
	if ref.IsZero() {
		return &d.any
	}
	return d.changes.Of(ref)
}

// begin is the stamp of answers about ref that begin to be rendered.
func (d *documents) begin(ref conan.Ref) stamp {
	counter := d.counter(ref)
	return stamp{counter, counter.Load()}
}

// beginSettings is the stamp of answers that depend on views and rules alone.
func (d *documents) beginSettings() stamp { return stamp{&d.settings, d.settings.Load()} }

// get returns a kept answer that is still true, or nil.
func (d *documents) get(key string) *document {
	if d.cache == nil {
		return nil
	}
	doc, ok := d.cache.Get(key)
	if !ok || !doc.stamp.valid() || !d.now().Before(doc.expires) {
		return nil
	}
	return doc
}

// put keeps an answer that was begun at a stamp and made of these origins.
func (d *documents) put(key string, doc *document, begun stamp, from provenance, origins []conan.Origin) {
	expires := firstExpiry(origins)
	if d.cache == nil || expires.IsZero() {
		return
	}
	const overhead = 512 // struct, header fields, map entry
	cost := int64(len(key)+len(doc.body)) + overhead
	if cost > d.largest {
		return // an item above the maximum would be accepted when it replaces another
	}
	kept := *doc
	kept.stamp, kept.expires, kept.stored, kept.from = begun, expires, d.now(), from
	d.cache.Set(key, &kept, cost)
}

func (d *documents) close() {
	if d.cache != nil {
		d.cache.Close()
		d.front.Close()
	}
}

// firstExpiry is the time until which an answer made of these origins stays true; zero: do not keep it.
func firstExpiry(origins []conan.Origin) time.Time {
	var first time.Time
	for i, o := range origins {
		if o.Expires.IsZero() {
			return time.Time{}
		}
		if i == 0 || o.Expires.Before(first) {
			first = o.Expires
		}
	}
	return first
}

// kept answers from memory, or renders the answer and keeps it. The caller's rights are checked
// before; perCaller is for answers that depend on who asks beyond that. Failures are not kept,
// except "not found".
func (s *Server) kept(r *request, perCaller bool, render func() (*document, error)) error {
	key := r.documentKey(perCaller)
	if doc := s.documents.get(key); doc != nil {
		if !perCaller {
			s.keepInFront(r, doc)
		}
		return r.send(doc.again(s.now()))
	}
	begun := s.documents.begin(r.ref)
	doc, err := render()
	if errors.Is(err, conan.ErrNotFound) || errors.Is(err, conan.ErrNotFetched) {
		doc, err = judge(err).document(), nil
	}
	if err != nil {
		return err
	}
	if doc == nil {
		return nil // render has answered itself
	}
	s.documents.put(key, doc, begun, provenanceOf(&r.trace, r.merged), r.trace.Origins())
	return r.send(doc)
}

// documentKey names everything that an answer depends on. Unknown query arguments are not among it.
func (r *request) documentKey(perCaller bool) string {
	query := ""
	if r.Request().URL.RawQuery != "" {
		q := r.QueryParams()
		query = q.Get("q") + "\x00" + q.Get("ignorecase") + "\x00" + q.Get("list_only")
	}
	user := ""
	if perCaller {
		user = r.caller.Name
	}
	return r.view.Name + "\x00" + string(r.generation) + "\x00" + r.external + "\x00" + r.mount.prefix + "\x00" +
		r.Request().URL.Path + "\x00" + user + "\x00" + query
}

// again is a kept document as it is answered later: what was fetched then is a hit now.
func (d *document) again(now time.Time) *document {
	later := *d
	if later.from.state == conan.StateMiss {
		later.from.state = conan.StateHit
	}
	later.from.age += now.Sub(d.stored)
	return &later
}

// keptJSON is kept for an answer that is JSON.
func (s *Server) keptJSON(r *request, ask func(context.Context) (any, error)) error {
	return s.kept(r, false, func() (*document, error) { return renderJSON(r, ask) })
}

func renderJSON(r *request, ask func(context.Context) (any, error)) (*document, error) {
	v, err := ask(r.ctx())
	if err != nil {
		return nil, err
	}
	return jsonDocument(v)
}
