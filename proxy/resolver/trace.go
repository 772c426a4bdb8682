package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"conanproxy/internal/conan"
)

// Trace is a Reader that keeps what every member answered and why one of them decided. It answers
// as the Reader for the same caller does. It is made for one explanation.
type Trace struct {
	*generationReader
	generation conan.Generation

	mu       sync.Mutex
	said     map[string][]Said      // by member
	found    map[string][]conan.Ref // by the last search, by member
	verdicts []Verdict
}

// Said is one answer of a member about the revisions or the files of something.
type Said struct {
	Of        conan.Revision       // what it was asked about; pinned if for its files
	Revisions []conan.RevisionTime // all, or the newest
	Files     conan.Snapshot       // of a pinned revision
	Origin    conan.Origin
	Err       error
}

// Verdict is a member that decided, and why it did.
type Verdict struct {
	Member string
	Reason Reason
}

// Reason is why a member decided, or did not, as a sentence about it.
type Reason string

// The reasons. HasCopies is why a store did not decide although it comes first.
const (
	IsFirst           Reason = "it is the first member in order that has it"
	IsOwner           Reason = "something published in it is in no upstream, so it decides about the reference"
	HasCopies         Reason = "nothing published in it is missing from the upstreams, so they decide about the newest revision"
	IsCopy            Reason = "it has a copy, and no member that decides has it or could be asked"
	IsBeforeUpstreams Reason = "it is a store before every upstream and has the package"
	HasNewest         Reason = "it has the newest revision of the package"
	IsFirstWhole      Reason = "it is the first member in order that has the whole revision"
	WasFoundBefore    Reason = "the revision was found there before"
	HasPart           Reason = "no member has the whole revision, and it is the first that has a part"
)

// Trace is For, for an explanation.
func (r *Resolver) Trace(g conan.Generation, rights Rights) *Trace {
	t := &Trace{generationReader: r.reader(g, rights), generation: g, said: make(map[string][]Said), found: make(map[string][]conan.Ref)}
	t.trace = t
	for i, m := range t.serving {
		heard := *m
		heard.Source = listener{m.Source, m.Name, t}
		t.serving[i] = &heard
	}
	return t
}

// note keeps why a member decided, if somebody asks.
func (v *generationReader) note(m *member, why Reason) {
	if v.trace == nil || m == nil {
		return
	}
	v.trace.mu.Lock()
	defer v.trace.mu.Unlock()
	v.trace.verdicts = append(v.trace.verdicts, Verdict{m.Name, why})
}

// noteDecider keeps why a member among those that decide about a reference did.
func (v *generationReader) noteDecider(m *member) {
	if m != nil && m.isStore() {
		v.note(m, IsOwner)
		return
	}
	v.note(m, IsFirst)
}

// noteHome keeps why the files of a revision come from a member.
func (v *generationReader) noteHome(rev conan.Revision, m *member) {
	if v.trace == nil {
		return
	}
	members := v.members(rev.Ref)
	if i := v.hinted(rev, members); i >= 0 && members[i] == m {
		v.note(m, WasFoundBefore)
		return
	}
	v.note(m, IsFirstWhole)
}

// Verdicts lists what was decided, in order.
func (t *Trace) Verdicts() []Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.verdicts)
}

// Said lists what a member answered, in order.
func (t *Trace) Said(member string) []Said {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.said[member])
}

func (t *Trace) heard(member string, s Said) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said[member] = append(t.said[member], s)
}

// listener is the Source of a member whose answers about revisions and files are kept.
type listener struct {
	conan.Source
	member string
	trace  *Trace
}

// Latest implements conan.Source.
func (l listener) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	a, err := l.Source.Latest(ctx, rev)
	said := Said{Of: rev.With(""), Origin: a.Origin, Err: err}
	if err == nil {
		said.Revisions = []conan.RevisionTime{a.Value}
	}
	l.trace.heard(l.member, said)
	return a, err
}

// Revisions implements conan.Source.
func (l listener) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	a, err := l.Source.Revisions(ctx, rev)
	l.trace.heard(l.member, Said{Of: rev.With(""), Revisions: a.Value, Origin: a.Origin, Err: err})
	return a, err
}

// Snapshot implements conan.Source.
func (l listener) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	a, err := l.Source.Snapshot(ctx, rev)
	l.trace.heard(l.member, Said{Of: rev, Files: a.Value, Origin: a.Origin, Err: err})
	return a, err
}

// Search implements conan.Source.
func (l listener) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	a, err := l.Source.Search(ctx, p)
	l.trace.mu.Lock()
	defer l.trace.mu.Unlock()
	l.trace.found[l.member] = a.Value
	return a, err
}

// Finders tells which members found some references by the last search, in order, and of each only
// what the caller may read there.
func (t *Trace) Finders(refs []conan.Ref) map[conan.Ref][]string {
	finders := make(map[conan.Ref][]string, len(refs))
	for _, ref := range refs {
		finders[ref] = []string{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.serving {
		var found []conan.Ref
		for _, ref := range t.found[m.Name] {
			if finders[ref] != nil {
				found = append(found, ref)
			}
		}
		for _, ref := range t.shown(m, found) {
			finders[ref] = append(finders[ref], m.Name)
		}
	}
	return finders
}

// Standing is whether a member is asked about a reference.
type Standing struct {
	Member  string
	IsStore bool
	Barred  string // why it is not asked, as a phrase; empty: it is
}

// Standings lists the members, in order, in which the caller may read the reference.
func (t *Trace) Standings(ref conan.Ref) []Standing {
	var list []Standing
	for _, m := range t.all {
		if t.mayRead(m, ref) {
			list = append(list, Standing{m.Name, m.isStore(), t.barred(m, ref)})
		}
	}
	return list
}

// barred is why a member is not asked about a reference that the caller may read there.
func (t *Trace) barred(m *member, ref conan.Ref) string {
	switch {
	case !m.Clients.Serves(t.generation):
		return fmt.Sprintf("it serves only clients of %s", m.Clients)
	case m.isStore():
		return ""
	case t.owns.Match(ref):
		return t.ownedBy(ref)
	}
	return m.Rules.Refusal(ref)
}

// ownedBy tells whose a reference is. It does not name a store that the caller may not read.
func (t *Trace) ownedBy(ref conan.Ref) string {
	for _, m := range t.all {
		if pattern, ok := m.Owns.Find(ref); ok && t.mayRead(m, ref) {
			return fmt.Sprintf("store %q owns the name by %q", m.Name, pattern)
		}
	}
	return "a store owns the name"
}

// Lists asks the members for their lists of the revisions of a reference, or of a package id in a
// recipe revision: those that are asked about it at all and did not fail before. An upstream has
// the short time of one that is asked only for what it could add.
func (t *Trace) Lists(ctx context.Context, node conan.Revision) error {
	asked, err := t.respondents(ctx, node)
	if err != nil && !conan.IsAbsent(err) && !errors.Is(err, conan.ErrUnavailable) {
		return err
	}
	gather(ctx, t.working(asked.members), adding(revisionsOf(node)))
	return ctx.Err()
}

// Files asks members for their lists of the files of a pinned revision, as Lists does.
func (t *Trace) Files(ctx context.Context, rev conan.Revision, names []string) error {
	members := slices.DeleteFunc(t.working(t.members(rev.Ref)), func(m *member) bool { return !slices.Contains(names, m.Name) })
	gather(ctx, members, adding(func(ctx context.Context, m *member) (conan.Answer[conan.Snapshot], error) {
		return m.Snapshot(ctx, rev)
	}))
	return ctx.Err()
}

// working leaves out members that failed to answer something, so that the wait for a dead one is
// not longer than that of the request that is explained.
func (t *Trace) working(members []*member) []*member {
	return slices.DeleteFunc(slices.Clone(members), func(m *member) bool {
		return m == nil || slices.ContainsFunc(t.Said(m.Name), func(s Said) bool { return s.Err != nil && !conan.IsAbsent(s.Err) && !isAnswer(s.Err) })
	})
}

// isAnswer tells the failures by which a member that lives refuses one thing.
func isAnswer(err error) bool {
	var hidden *conan.HiddenError
	var unavailable *conan.UnavailableError
	return errors.As(err, &hidden) || errors.As(err, &unavailable) && unavailable.Refused
}
