package index

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestDocuments(t *testing.T) {
	ctx := context.Background()
	db := openForTest(t, t.TempDir())
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	put := func(member MemberID, kind, key, body string, fetched int64) {
		t.Helper()
		if err := db.PutDocument(ctx, member, kind, key, Document{Body: []byte(body), Fetched: at(fetched)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Document(ctx, center, "list", "x"); !errors.Is(err, conan.ErrNotFound) {
		t.Fatalf("Document of nothing: %v, want ErrNotFound", err)
	}
	put(center, "list", "x", "old", 10)
	put(center, "list", "x", "new", 20)
	put(center, "list", "y", "y", 30)
	put(center, "list", "z", "z", 5)
	put(center, "other", "x", "o", 1)
	put(other, "list", "x", "b", 1)

	got, err := db.Document(ctx, center, "list", "x")
	if diff := cmp.Diff(Document{Body: []byte("new"), Fetched: at(20)}, got); diff != "" || err != nil {
		t.Errorf("document (-want +got):\n%s%v", diff, err)
	}

	old := func(before int64, after string, limit int) []string {
		t.Helper()
		keys, err := db.OldDocuments(ctx, center, "list", at(before), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	for name, c := range map[string]struct{ got, want []string }{
		"older than all":  {old(5, "", 10), nil},
		"two":             {old(30, "", 10), []string{"x", "z"}},
		"first of two":    {old(30, "", 1), []string{"x"}},
		"second by after": {old(30, "x", 10), []string{"z"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for bounds, want := range map[[2]int64][]string{
		{1, 100}: {"x", "z"}, // the newest stays
		{9, 3}:   {"x", "z"}, // "y" and "new" have 4 bytes
		{9, 4}:   {"z"},
		{9, 0}:   {"y", "x", "z"},
		{9, 100}: nil,
	} {
		surplus, err := db.SurplusDocuments(ctx, center, "list", int(bounds[0]), bounds[1])
		if diff := cmp.Diff(want, surplus); diff != "" || err != nil {
			t.Errorf("surplus beyond %v (-want +got):\n%s%v", bounds, diff, err)
		}
	}

	if err := db.DeleteDocuments(ctx, center, "list", "x", "nothing"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Document(ctx, center, "list", "x"); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("after delete: %v, want ErrNotFound", err)
	}
	for member, kind := range map[MemberID]string{center: "other", other: "list"} {
		if _, err := db.Document(ctx, member, kind, "x"); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
}
