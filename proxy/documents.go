package proxy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"conanproxy/internal/conan"
	"conanproxy/internal/memory"
)

// documents is the memory of rendered answers, "not found" among them. An answer is kept until its
// origin says that it expires, until something changes that it depends on, and for requests of the
// settings under which it was begun. Everything in it can be found out again.
type documents struct {
	cache   *ristretto.Cache[string, *keptDocument] // nil keeps nothing
	largest int64                                   // bytes of one answer
	changes *memory.Changes
	now     func() time.Time
}

// keptDocument is a document as it is answered again.
type keptDocument struct {
	document *document // its header has the origin's fields
	origin   conan.Origin
	stamp    memory.Stamp
	settings *Settings
}

// newDocuments makes a memory of that many bytes; 0 or less keeps nothing.
func newDocuments(bytes int64, changes *memory.Changes, now func() time.Time) (*documents, error) {
	d := &documents{changes: changes, now: now, largest: bytes / 16}
	if bytes <= 0 {
		return d, nil
	}
	const usualSize = 1 << 10
	cache, err := ristretto.NewCache(&ristretto.Config[string, *keptDocument]{
		NumCounters:        max(10*bytes/usualSize, 1000),
		MaxCost:            bytes,
		BufferItems:        64,
		IgnoreInternalCost: true, // cost counts it
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: make the cache of rendered answers: %w", err)
	}
	d.cache = cache
	return d, nil
}

// stamp is that of answers about a reference, or of searches if there is none. Take it before
// anything is asked.
func (d *documents) stamp(ref conan.Ref) memory.Stamp {
	if ref.IsZero() {
		return d.changes.Names()
	}
	return d.changes.Of(ref)
}

// get returns a kept answer that is still true for requests of the settings, or nil.
func (d *documents) get(key string, settings *Settings) *keptDocument {
	if d.cache == nil {
		return nil
	}
	k, ok := d.cache.Get(key)
	if !ok || k.settings != settings || !k.stamp.Valid() || !d.now().Before(k.origin.Expires) {
		return nil
	}
	return k
}

// put keeps an answer that was begun at a stamp. Stale ones are not kept: they say how old they
// are.
func (d *documents) put(key string, a rendering, stamp memory.Stamp, settings *Settings) {
	if d.cache == nil || a.Origin.Expires.IsZero() || a.Origin.State == conan.StateStale {
		return
	}
	const overhead = 1 << 10 // structs, header fields, map entry
	cost := int64(len(key)+len(a.Value.body)) + overhead
	if cost > d.largest {
		return // an item above the maximum would be accepted when it replaces another
	}
	if a.Origin.State == conan.StateMiss {
		a.Origin.State = conan.StateHit // when it is answered again
	}
	again := *a.Value
	again.header = slices.Concat(again.header, originFields(a.Origin))
	d.cache.Set(key, &keptDocument{document: &again, origin: a.Origin, stamp: stamp, settings: settings}, cost)
}

func (d *documents) close() {
	if d.cache != nil {
		d.cache.Close()
	}
}

// kept answers from memory, or renders the answer and keeps it, for all callers who may read the
// reference in the same members. The caller's rights are checked before. Failures are not kept,
// except "not found". A rendering without a document has answered itself.
func (s *Server) kept(r *request, render func() (rendering, error)) error {
	return s.keptFor(r, r.readableSet(), render)
}

// keptFor is kept for answers that callers with other rights do not get; rights names those on
// which the answer depends.
func (s *Server) keptFor(r *request, rights string, render func() (rendering, error)) error {
	key := r.documentKey(rights)
	if k := s.documents.get(key, r.settings); k != nil {
		r.origin = k.origin
		return r.write(k.document)
	}
	stamp := s.documents.stamp(r.rev.Ref)
	a, err := render()
	if conan.IsAbsent(err) {
		a.Value, err = r.classify(err).document(), nil
	}
	if err != nil || a.Value == nil {
		return err
	}
	s.documents.put(key, a, stamp, r.settings)
	return r.send(a.Value, a.Origin)
}

// documentKey names everything that an answer depends on but settings and changes. Unknown query
// arguments are not among it.
func (r *request) documentKey(rights string) string {
	parts := [...]string{
		r.view.Name, string(r.generation), r.external, r.mounted.prefix, r.path, rights,
		flag(r.ignoresCase()), flag(r.listsIDsOnly()), r.argument("q"),
	}
	size := len(parts)
	for _, p := range parts {
		size += len(p)
	}
	var b strings.Builder
	b.Grow(size)
	for _, p := range parts {
		b.WriteString(p)
		b.WriteByte(0) // in none of them but the last
	}
	return b.String()
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return ""
}

// ignoresCase is what a search says by its argument; it does unless told otherwise.
func (r *request) ignoresCase() bool { return !strings.EqualFold(r.argument("ignorecase"), "false") }

// listsIDsOnly is what a search for packages says by its argument.
func (r *request) listsIDsOnly() bool { return strings.EqualFold(r.argument("list_only"), "true") }
