package index

import (
	"context"
	"errors"
	"testing"

	"conanproxy/internal/conan"
)

// The members that openForTest makes.
const (
	store MemberID = iota + 1
	center
	other
)

// addTestMembers makes the members that tests know.
func addTestMembers(t testing.TB, db *DB) {
	t.Helper()
	for _, m := range []Member{{store, "local", KindStore}, {center, "center", KindUpstream}, {other, "other", KindUpstream}} {
		id, err := db.Member(context.Background(), m.Name, m.Kind)
		if err != nil || id != m.ID {
			t.Fatalf("member %s: %d, %v", m.Name, id, err)
		}
	}
}

func TestMemberKeepsItsKind(t *testing.T) {
	db := openForTest(t, t.TempDir())
	if id, err := db.Member(t.Context(), "center", KindUpstream); err != nil || id != center {
		t.Errorf("again: %d, %v", id, err)
	}
	if _, err := db.Member(t.Context(), "center", KindStore); !errors.Is(err, conan.ErrConflict) {
		t.Errorf("as a store: %v, want ErrConflict", err)
	}
	members, err := db.Members(t.Context())
	if err != nil || len(members) != 3 || members[0] != (Member{center, "center", KindUpstream}) {
		t.Errorf("members %v, %v", members, err)
	}
}
