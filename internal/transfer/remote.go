package transfer

import (
	"context"
	"errors"
	"sync"

	"conanproxy/internal/conan"
)

// remote is a conan.Source over a remote server, for one pass over what it has.
type remote struct {
	conan.Remote
	origin conan.Origin

	mu    sync.Mutex
	lists map[conan.Revision][]conan.RevisionTime // of Revisions
}

// NewRemote makes a conan.Source of a remote server, for one copy: lists of revisions are asked for
// once, all else each time, and files are not verified. So it is for sinks that check them.
func NewRemote(r conan.Remote, name string) conan.Source {
	origin := conan.Origin{Member: name, State: conan.StateMiss}
	return &remote{Remote: r, origin: origin, lists: make(map[conan.Revision][]conan.RevisionTime)}
}

func remoteAnswer[T any](r *remote, value T, err error) (conan.Answer[T], error) {
	if err != nil {
		return conan.Answer[T]{Origin: r.origin}, err
	}
	return conan.Answer[T]{Value: value, Origin: r.origin}, nil
}

// Latest implements conan.Source.
func (r *remote) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	latest, err := r.Remote.Latest(ctx, rev)
	return remoteAnswer(r, latest, err)
}

// Revisions implements conan.Source.
func (r *remote) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	node := rev.With("")
	r.mu.Lock()
	list, ok := r.lists[node]
	r.mu.Unlock()
	if ok {
		return remoteAnswer(r, list, nil)
	}
	list, err := r.Remote.Revisions(ctx, rev)
	if err == nil {
		r.mu.Lock()
		r.lists[node] = list
		r.mu.Unlock()
	}
	return remoteAnswer(r, list, err)
}

// Snapshot implements conan.Source.
func (r *remote) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	files, err := r.Remote.Snapshot(ctx, rev)
	return remoteAnswer(r, files, err)
}

// Open implements conan.Source.
func (r *remote) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	download, err := r.Remote.Open(ctx, rev, name)
	if err != nil {
		return remoteAnswer[*conan.File](r, nil, err)
	}
	f := &conan.File{FileInfo: download.FileInfo, ReadCloser: download, Wait: func(context.Context) (*conan.File, error) {
		return nil, errors.New("a file of a remote server can only be read")
	}}
	f.Name = name
	return remoteAnswer(r, f, nil)
}

// Packages implements conan.Source.
func (r *remote) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	list, err := r.Remote.Packages(ctx, recipe, idsOnly)
	return remoteAnswer(r, list, err)
}

// Search implements conan.Source.
func (r *remote) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, err := r.Remote.Search(ctx, p)
	return remoteAnswer(r, refs, err)
}
