package conan

import "context"

type downloadKey struct{}

// WithDownload returns a context for the question which files a revision has, if whoever asks downloads them next, as
// Conan does after these lists. A source may begin to fetch them.
func WithDownload(ctx context.Context) context.Context {
	return context.WithValue(ctx, downloadKey{}, true)
}

// DownloadFollows tells whether the context is one of WithDownload.
func DownloadFollows(ctx context.Context) bool {
	follows, _ := ctx.Value(downloadKey{}).(bool)
	return follows
}
