package conantest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"conanproxy/internal/conan"
)

// SetSource is a conan.Source that has exactly its sets, for what stands in front of other Sources.
type SetSource struct {
	sets   sets
	origin conan.Origin
}

var _ conan.Source = (*SetSource)(nil)

// NewSource makes a source of sets, oldest first, whose answers come from a member in a state.
func NewSource(member string, state conan.CacheState, sets ...Set) *SetSource {
	return &SetSource{sets, conan.Origin{Member: member, State: state, Expires: conan.Forever}}
}

// setAnswer is the value if it is found, or conan.ErrNotFound.
func setAnswer[T any](ctx context.Context, s *SetSource, what fmt.Stringer, value T, found bool) (conan.Answer[T], error) {
	if err := ctx.Err(); err != nil {
		return conan.Answer[T]{}, err
	}
	if !found {
		return conan.Answer[T]{Origin: s.origin}, fmt.Errorf("%s: %w", what, conan.ErrNotFound)
	}
	return conan.Answer[T]{Value: value, Origin: s.origin}, nil
}

// Latest implements conan.Source.
func (s *SetSource) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := s.Revisions(ctx, rev)
	a := conan.Answer[conan.RevisionTime]{Origin: list.Origin}
	if err == nil {
		a.Value = list.Value[0]
	}
	return a, err
}

// Revisions implements conan.Source.
func (s *SetSource) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	var list []conan.RevisionTime
	for _, id := range s.sets.newestFirst(rev) {
		set, _ := s.sets.find(rev.With(id))
		list = append(list, conan.RevisionTime{ID: id, Time: set.Time})
	}
	return setAnswer(ctx, s, rev, list, len(list) > 0)
}

// Snapshot implements conan.Source.
func (s *SetSource) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	set, found := s.sets.find(rev)
	return setAnswer(ctx, s, rev, set.Snapshot(), found)
}

// Open implements conan.Source.
func (s *SetSource) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	set, _ := s.sets.find(rev)
	content, found := set.Files[name]
	info, _ := set.Snapshot().Find(name)
	return setAnswer(ctx, s, rev, &conan.File{FileInfo: info, ReadCloser: io.NopCloser(bytes.NewReader(content))}, found)
}

// Packages implements conan.Source.
func (s *SetSource) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	_, found := s.sets.find(recipe)
	return setAnswer(ctx, s, recipe, s.sets.binaries(recipe), found)
}

// Search implements conan.Source.
func (s *SetSource) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return setAnswer(ctx, s, p, s.sets.matches(p), true)
}

// OwnRevisions lists the recipe revisions of a reference, as a store does of what was published in
// it.
func (s *SetSource) OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	list, err := s.Revisions(ctx, conan.Revision{Ref: ref})
	if errors.Is(err, conan.ErrNotFound) {
		return nil, nil
	}
	var ids []string
	for _, r := range list.Value {
		ids = append(ids, r.ID)
	}
	return ids, err
}
