package localstore

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

func mustRef(t *testing.T, text string) conan.Ref {
	t.Helper()
	ref, err := conan.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestNamesFollowTheRows(t *testing.T) {
	ctx := context.Background()
	db, err := index.Open(ctx, filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	member, err := db.Member(ctx, "local", index.KindStore)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		rev := conan.Revision{Ref: mustRef(t, text), RRev: "r1"}
		if err := db.PutRevision(ctx, member, rev, index.PutOptions{Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	n := names{index: db, member: member}
	db.Changes().Subscribe(n.note)
	search := func(text string, ignoreCase bool) []string {
		t.Helper()
		p, err := conan.ParsePattern(text, ignoreCase)
		if err != nil {
			t.Fatal(err)
		}
		refs, err := n.search(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, r := range refs {
			texts = append(texts, r.String())
		}
		return texts
	}
	for _, text := range []string{"zlib/1.3", "zlib/1.2@acme/stable", "zlib-ng/2.0", "Zlib/1.0", "boost/1.80"} {
		put(text)
	}
	tests := []struct {
		pattern    string
		ignoreCase bool
		want       []string
	}{
		{"", true, []string{"Zlib/1.0", "boost/1.80", "zlib-ng/2.0", "zlib/1.2@acme/stable", "zlib/1.3"}},
		{"zlib/*", true, []string{"Zlib/1.0", "zlib/1.2@acme/stable", "zlib/1.3"}},
		{"zlib/*", false, []string{"zlib/1.2@acme/stable", "zlib/1.3"}},
		{"ZLIB", true, []string{"Zlib/1.0", "zlib/1.2@acme/stable", "zlib/1.3"}},
		{"*@acme/*", true, []string{"zlib/1.2@acme/stable"}},
		{"*ng*", true, []string{"zlib-ng/2.0"}},
		{"none/*", true, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, search(tt.pattern, tt.ignoreCase)); diff != "" {
			t.Errorf("%q, ignore case %v (-want +got):\n%s", tt.pattern, tt.ignoreCase, diff)
		}
	}

	put("fmt/11.0")
	put("fmt/11.0")
	if diff := cmp.Diff([]string{"fmt/11.0"}, search("fmt", true)); diff != "" {
		t.Errorf("after a publication (-want +got):\n%s", diff)
	}
	stored, err := db.Find(ctx, member, conan.Revision{Ref: mustRef(t, "fmt/11.0"), RRev: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.RemoveRevisions(ctx, []int64{stored.RowID}); err != nil {
		t.Fatal(err)
	}
	if got := search("fmt", true); got != nil {
		t.Errorf("after a removal: %v", got)
	}

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	put("late/1.0")
	if _, err := n.search(cancelled, conan.Pattern{}); err == nil {
		t.Error("a search that could not look at what changed has an answer")
	}
	if diff := cmp.Diff([]string{"late/1.0"}, search("late", true)); diff != "" {
		t.Errorf("after a failure to look (-want +got):\n%s", diff)
	}
}

// BenchmarkSearch is a search among a hundred thousand references, with a fixed beginning and
// without.
func BenchmarkSearch(b *testing.B) {
	n := names{loaded: true}
	for i := range 100_000 {
		n.sorted = append(n.sorted, newName(conan.Ref{Name: fmt.Sprintf("lib%05d", i/10), Version: fmt.Sprint(i % 10)}))
	}
	slices.SortFunc(n.sorted, compareNames)
	for _, text := range []string{"lib01234/*", "*b0123*"} {
		b.Run(text, func(b *testing.B) {
			p, err := conan.ParsePattern(text, true)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if found, err := n.search(b.Context(), p); err != nil || len(found) == 0 {
					b.Fatalf("%d found, %v", len(found), err)
				}
			}
		})
	}
}
