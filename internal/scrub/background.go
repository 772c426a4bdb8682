package scrub

import (
	"context"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"conanproxy/internal/index"
)

// pause is how long the background scrub rests after a whole round, and after a failure; delay, how
// long it waits after the start of the process.
const (
	pause = time.Hour
	delay = time.Minute
)

// batch is how many blobs are read between two notes of the place.
const batch = 500

// Run re-reads every blob again and again, at most bytesPerSecond, beside a running server, until
// ctx is done. It continues where it was after a restart. Damaged blobs are set aside at once, so
// that they are never served after that, and fetched again with Options.Fetch. Run sets
// Options.Repair and Wait itself.
func Run(ctx context.Context, o Options, bytesPerSecond int64, log *zap.Logger) {
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), max(int(bytesPerSecond), readSize))
	o.Repair = true
	o.Wait = func(ctx context.Context, n int) error { return limit.WaitN(ctx, n) }
	for rest := delay; ; rest = pause {
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
		if err := round(ctx, o, log); err != nil && ctx.Err() == nil {
			log.Error("scrub stopped", zap.Error(err))
		}
	}
}

// readSize is what Verify reads at a time; the limiter must admit it.
const readSize = 256 << 10

// round goes on from the last place to the last blob.
func round(ctx context.Context, o Options, log *zap.Logger) error {
	after, err := o.Index.ScrubCursor(ctx)
	if err != nil {
		return err
	}
	for {
		rows, err := o.Index.Blobs(ctx, after, batch)
		if err != nil {
			return err
		}
		for _, row := range rows {
			f, err := one(ctx, o, row)
			if err != nil {
				return err
			}
			if f != nil {
				logFinding(log, *f)
				if o.Found != nil {
					o.Found(*f)
				}
			}
		}
		after = ""
		if len(rows) > 0 {
			after = rows[len(rows)-1].SHA256
		}
		if err := o.Index.SetScrubCursor(ctx, after); err != nil || after == "" {
			return err
		}
	}
}

func logFinding(log *zap.Logger, f Finding) {
	fields := []zap.Field{zap.String("blob", string(f.Digest)), zap.String("kind", string(f.Kind)), zap.Bool("healed", f.Healed)}
	if f.Trouble != "" {
		fields = append(fields, zap.String("trouble", f.Trouble))
	}
	if len(f.Files) > 0 {
		fields = append(fields, zap.String("member", f.Files[0].Member.Name), zap.String("file", describe(f.Files[0])))
	}
	log.Error("a stored blob is not as it was written", fields...)
}

func describe(f index.FileRow) string { return f.Revision.String() + " " + f.Name }
