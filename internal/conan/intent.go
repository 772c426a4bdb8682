package conan

import "context"

type downloadKey struct{}

// WithDownload returns a context for the question which revision is the newest, or which files a revision has, if whoever
// asks downloads them next, as Conan does after these answers. A source may begin to fetch what is asked next.
func WithDownload(ctx context.Context) context.Context {
	return context.WithValue(ctx, downloadKey{}, true)
}

// DownloadFollows tells whether the context is one of WithDownload.
func DownloadFollows(ctx context.Context) bool {
	follows, _ := ctx.Value(downloadKey{}).(bool)
	return follows
}
