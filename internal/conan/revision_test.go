package conan

import (
	"errors"
	"strings"
	"testing"
)

func TestNewRevision(t *testing.T) {
	ref := mustRef(t, "zlib/1.3@acme/stable")
	tests := []struct {
		name, rrev, id, prev    string
		text                    string
		isPackage, pinned, zero bool
	}{
		{"newest recipe", "", "", "", "zlib/1.3@acme/stable", false, false, false},
		{"recipe", "abc", "", "", "zlib/1.3@acme/stable#abc", false, true, false},
		{"mutable recipe", "0", "", "", "zlib/1.3@acme/stable#0", false, true, true},
		{"package", "abc", "1f", "", "zlib/1.3@acme/stable#abc:1f", true, false, false},
		{"package of the newest recipe", "", "1f", "", "zlib/1.3@acme/stable:1f", true, false, false},
		{"package revision", "abc", "1f", "9", "zlib/1.3@acme/stable#abc:1f#9", true, true, false},
		{"mutable package", "abc", "1f", "0", "zlib/1.3@acme/stable#abc:1f#0", true, true, true},
		{"package in a mutable recipe", "0", "1f", "9", "zlib/1.3@acme/stable#0:1f#9", true, true, true},
		{"package revision of the newest recipe", "", "1f", "9", "zlib/1.3@acme/stable:1f#9", true, false, false},
		{"long ids", strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("Z", 64),
			"zlib/1.3@acme/stable#" + strings.Repeat("a", 64) + ":" + strings.Repeat("b", 64) + "#" + strings.Repeat("Z", 64), true, true, false},
	}
	for _, tt := range tests {
		rev, err := NewRevision(ref, tt.rrev, tt.id, tt.prev)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if rev.String() != tt.text || rev.IsPackage() != tt.isPackage || rev.Pinned() != tt.pinned || rev.Mutable() != tt.zero {
			t.Errorf("%s: got %q, package %v, pinned %v, mutable %v", tt.name, rev, rev.IsPackage(), rev.Pinned(), rev.Mutable())
		}
		if got := rev.With("77"); got.ID() != "77" || got.Recipe().Ref != ref || (rev.IsPackage() && got.RRev != tt.rrev) {
			t.Errorf("%s: With gives %q", tt.name, got)
		}
		if got, want := rev.Recipe(), (Revision{Ref: ref, RRev: tt.rrev}); got != want {
			t.Errorf("%s: recipe: got %q, want %q", tt.name, got, want)
		}
	}
}

func TestNewRevisionRefuses(t *testing.T) {
	ref := mustRef(t, "zlib/1.3")
	for _, id := range []string{"..", "a/b", "a b", "a#", "ä", "a\n", "%2e", strings.Repeat("a", 65)} {
		for _, ids := range [][3]string{{id, "", ""}, {"a", id, ""}, {"a", "b", id}} {
			if rev, err := NewRevision(ref, ids[0], ids[1], ids[2]); !errors.Is(err, ErrInvalid) {
				t.Errorf("ids %q: got %v, %v; want ErrInvalid", ids, rev, err)
			}
		}
		if ValidRevisionID(id) {
			t.Errorf("%q is a valid id", id)
		}
	}
	if rev, err := NewRevision(ref, "a", "", "b"); !errors.Is(err, ErrInvalid) {
		t.Errorf("package revision without package: got %v, %v", rev, err)
	}
	if ValidRevisionID("") || !ValidRevisionID(MutableRevision) {
		t.Error("the empty id is valid or 0 is not")
	}
}
