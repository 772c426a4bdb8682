package cache

import (
	"context"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// An answer that is contradicted while it is being stored is asked again, by who has it in memory and by who reads it
// from the index.
func TestContradictedWhileStored(t *testing.T) {
	ctx := context.Background()
	b := newBench(t, newFake(), nil)
	defer b.end(t)
	rev := conan.Revision{Ref: ref("zlib/1.3"), RRev: "aa"}
	q := b.filesQuestion(rev)
	contradicted := make(chan struct{})
	answer := document[conan.Snapshot]{Value: conan.Snapshot{{Name: conan.RecipeFile, Size: 1}}, Fetched: time.Now()}
	store(ctx, b.Cache, q, answer, func() {
		doc, err := load(ctx, b.Cache, q)
		if err != nil || doc == nil || !doc.Fetched.Equal(answer.Fetched) {
			t.Fatalf("%+v is remembered when the answer is known: %v", doc, err)
		}
		go func() {
			b.expireFiles(ctx, rev)
			close(contradicted)
		}()
		select { // it may come before the end of this, or has to wait for it
		case <-contradicted:
		case <-time.After(50 * time.Millisecond):
		}
	})
	<-contradicted
	for _, what := range []string{"memory", "index"} {
		if what == "index" {
			b.o.Memory.Remove(q.memoryKey(b.Cache))
		}
		if doc, err := load(ctx, b.Cache, q); err != nil || doc == nil || b.isFresh(doc.Fetched) {
			t.Errorf("%s: %+v, %v", what, doc, err)
		}
	}
}
