package selection

import (
	"context"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/upstream"
)

// source makes a Source of a running server: it asks every question over HTTP.
func source(t *testing.T, url string) conan.Source {
	t.Helper()
	r, err := upstream.New(upstream.Options{Name: "server", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return remoteSource{remote: r}
}

// remoteSource has the methods that resolving needs.
type remoteSource struct {
	conan.Source // nil: what resolving must not call
	remote       conan.Remote
}

func answerOf[T any](value T, err error) (conan.Answer[T], error) {
	return conan.Answer[T]{Value: value}, err
}

func (s remoteSource) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	return answerOf(s.remote.Latest(ctx, rev))
}

func (s remoteSource) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	return answerOf(s.remote.Revisions(ctx, rev))
}

func (s remoteSource) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	return answerOf(s.remote.Packages(ctx, recipe, idsOnly))
}

func (s remoteSource) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	return answerOf(s.remote.Search(ctx, p))
}
