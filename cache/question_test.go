package cache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/space"
)

// What was asked for under settings that were replaced meanwhile is answered, and not remembered.
func TestSettingsReplacedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		ref  string
		want error
	}{"known": {"zlib/1.3", nil}, "absent": {"qt/6", conan.ErrNotFound}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFake()
				up.addRecipe(t, "zlib/1.3", "one", 100)
				up.delay = time.Second
				b := newBench(t, up, func(o *Options, _ *space.Options) { o.Mode = Frozen })
				defer b.end(t)
				rev := conan.Revision{Ref: ref(c.ref)}
				time.AfterFunc(time.Second/2, b.index.Changes().ChangedSettings)
				for i, asked := range []int{1, 2, 2} {
					if _, err := b.Latest(context.Background(), rev); !errors.Is(err, c.want) {
						t.Errorf("question %d: %v", i, err)
					}
					if n := up.times("revisions"); n != asked {
						t.Errorf("question %d: upstream was asked %d times, want %d", i, n, asked)
					}
				}
			})
		})
	}
}
