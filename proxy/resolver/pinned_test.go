package resolver

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestSnapshotHome(t *testing.T) {
	tests := []struct {
		name         string
		rev          string
		local, a, b  []string
		aDown, bDown bool
		want         string // whose list
		wantErr      string
	}{
		{name: "local first", rev: "zlib/1.3#r1", local: []string{"zlib/1.3#r1@1"}, a: []string{"zlib/1.3#r1@1"}, want: "local"},
		{name: "then in order", rev: "zlib/1.3#r1", a: []string{"zlib/1.3#r1@1"}, b: []string{"zlib/1.3#r1@1"}, want: "a"},
		{name: "only the second", rev: "zlib/1.3#r1", a: []string{"zlib/1.3#r2@2"}, b: []string{"zlib/1.3#r1@1"}, want: "b"},
		{name: "the first is down", rev: "zlib/1.3#r1", aDown: true, b: []string{"zlib/1.3#r1@1"}, want: "b"},
		{name: "the first is down and nobody else has it", rev: "zlib/1.3#r1", aDown: true, wantErr: "unavailable a"},
		{name: "nobody has it", rev: "zlib/1.3#r1", wantErr: "not found"},
		{name: "the second is down and the first has it not", rev: "zlib/1.3#r1", bDown: true, wantErr: "unavailable b"},
		{name: "a whole list before a part", rev: "zlib/1.3#r1", a: []string{"zlib/1.3#r1@1!"}, b: []string{"zlib/1.3#r1@1"}, want: "b"},
		{name: "a part if there is no whole", rev: "zlib/1.3#r1", a: []string{"zlib/1.3#r1@1!"}, b: []string{"zlib/1.3#r1@1!"}, want: "a"},
		{name: "package", rev: "zlib/1.3#r1:p1#x", a: []string{"zlib/1.3#r1:p1#y@1"}, b: []string{"zlib/1.3#r1:p1#x@1"}, want: "b"},
		{name: "package, a whole list before a part", rev: "zlib/1.3#r1:p1#x", local: []string{"zlib/1.3#r1:p1#x@1!"}, b: []string{"zlib/1.3#r1:p1#x@1"}, want: "b"},
		{name: "mutable: the first is down", rev: "zlib/1.3#0", aDown: true, b: []string{"zlib/1.3#0@1"}, wantErr: "unavailable a"},
		{name: "mutable: the first has it not", rev: "zlib/1.3#0", b: []string{"zlib/1.3#0@1"}, want: "b"},
		{name: "not pinned", rev: "zlib/1.3", a: []string{"zlib/1.3#r1@1"}, wantErr: "invalid"},
		{name: "package not pinned", rev: "zlib/1.3#r1:p1", a: []string{"zlib/1.3#r1:p1#y@1"}, wantErr: "invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			reader := newReader(t, local, a, b)
			s, err := reader.Snapshot(t.Context(), mustRevision(t, tt.rev))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if err == nil && s[0].MD5 != tt.want {
				t.Errorf("the list is of %q, want %q", s[0].MD5, tt.want)
			}
			body, err := openAll(t, reader, tt.rev, conan.ManifestFile)
			if word(err) != tt.wantErr {
				t.Fatalf("Open: error %v, want %q", err, tt.wantErr)
			}
			if body != tt.want {
				t.Errorf("the file is of %q, want %q", body, tt.want)
			}
		})
	}
}

func openAll(t *testing.T, reader plainReader, rev, name string) (string, error) {
	t.Helper()
	f, err := reader.Open(t.Context(), mustRevision(t, rev), name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

// wantOpen checks whose bytes a file has.
func wantOpen(t *testing.T, when string, reader plainReader, rev, want string) {
	t.Helper()
	body, err := openAll(t, reader, rev, conan.ManifestFile)
	if err != nil || body != want {
		t.Errorf("%s: the file is of %q, error %v; want %q", when, body, err, want)
	}
}

// Files opened later come from the member whose list was given out, also after the member
// that was down then is back.
func TestHomeStays(t *testing.T) {
	a, b := newFake(t, "a", "zlib/1.3#r1@1"), newFake(t, "b", "zlib/1.3#r1@1")
	reader := newReader(t, newFake(t, localName), a, b)
	a.set(down("a"))
	if _, err := reader.Snapshot(t.Context(), mustRevision(t, "zlib/1.3#r1")); err != nil {
		t.Fatal(err)
	}
	a.set(nil)
	wantOpen(t, "after a is back", reader, "zlib/1.3#r1", "b")
	s, err := reader.Snapshot(t.Context(), mustRevision(t, "zlib/1.3#r1"))
	if err != nil || s[0].MD5 != "b" {
		t.Errorf("a second list is of %v, %v; want b's", s, err)
	}
}

func TestHomeMoves(t *testing.T) {
	const rev = "zlib/1.3#r1"
	local, a, b := newFake(t, localName, rev+"@1"), newFake(t, "a", rev+"@1"), newFake(t, "b", rev+"@1")
	reader := newReader(t, local, a, b)
	wantOpen(t, "at first", reader, rev, "local")
	local.clear()
	wantOpen(t, "after the local delete", reader, rev, "a")
	a.set(down("a"))
	wantOpen(t, "after a went down", reader, rev, "b")
	a.set(nil)
	wantOpen(t, "after a is back", reader, rev, "b")
	b.set(down("b"))
	wantOpen(t, "after b went down", reader, rev, "a")
	a.set(down("a"))
	if _, err := openAll(t, reader, rev, conan.ManifestFile); word(err) != "unavailable a" {
		t.Errorf("everything down: error %v, want unavailable", err)
	}
}

// The bytes of a mutable revision are another content elsewhere.
func TestMutableHomeDoesNotMove(t *testing.T) {
	a, b := newFake(t, "a", "zlib/1.3#0@1"), newFake(t, "b", "zlib/1.3#0@1")
	reader := newReader(t, nil, a, b)
	wantOpen(t, "at first", reader, "zlib/1.3#0", "a")
	a.set(down("a"))
	if _, err := openAll(t, reader, "zlib/1.3#0", conan.ManifestFile); word(err) != "unavailable a" {
		t.Errorf("error %v, want unavailable a", err)
	}
}

// The order decides about a mutable revision each time: an earlier member that gets it is not
// hidden by the one that had it first.
func TestMutableRevisionIsOfTheFirstThatHasIt(t *testing.T) {
	const rev = "zlib/1.3#0"
	a, b := newFake(t, "a"), newFake(t, "b", rev+"@1")
	reader := newReader(t, nil, a, b)
	wantOpen(t, "at first", reader, rev, "b")
	a.add(rev + "@2")
	wantOpen(t, "once a has it", reader, rev, "a")
	s, err := reader.Snapshot(t.Context(), mustRevision(t, rev))
	if err != nil || s[0].MD5 != "a" {
		t.Errorf("the list is of %v, %v; want a's", s, err)
	}
}

// A file that its home lacks is not found, whatever others have.
func TestOpenMissingFile(t *testing.T) {
	a, b := newFake(t, "a", "zlib/1.3#r1@1"), newFake(t, "b", "zlib/1.3#r1@1")
	reader := newReader(t, nil, a, b)
	if _, err := openAll(t, reader, "zlib/1.3#r1", "metadata/none"); word(err) != "not found" {
		t.Errorf("error %v, want not found", err)
	}
	if asked := b.asked(); len(asked) != 0 {
		t.Errorf("b was asked %v", asked)
	}
}

// A known home costs one question per file.
func TestOpenAsksOnce(t *testing.T) {
	a := newFake(t, "a", "zlib/1.3#r1@1")
	reader := newReader(t, newFake(t, localName), a)
	for range 3 {
		wantOpen(t, "again", reader, "zlib/1.3#r1", "a")
	}
	want := []string{"Snapshot zlib/1.3#r1", "Open zlib/1.3#r1", "Open zlib/1.3#r1", "Open zlib/1.3#r1"}
	if diff := cmp.Diff(want, a.asked()); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

func TestHintOfAnotherGeneration(t *testing.T) {
	a, b := newFake(t, "a", "zlib/1.3#r1@1"), newFake(t, "b", "zlib/1.3#r1@1")
	r := mustResolver(t, Options{Members: []Member{
		{Name: "a", Source: a, Clients: conan.Conan1},
		{Name: "b", Source: b, Clients: conan.Conan2},
	}})
	wantOpen(t, "Conan 1", plainReader{r.For(conan.Conan1, nil)}, "zlib/1.3#r1", "a")
	wantOpen(t, "Conan 2", plainReader{r.For(conan.Conan2, nil)}, "zlib/1.3#r1", "b")
	wantOpen(t, "Conan 1 again", plainReader{r.For(conan.Conan1, nil)}, "zlib/1.3#r1", "a")
}

func TestPinnedPassesOverBrokenLocal(t *testing.T) {
	local, a := newFake(t, localName), newFake(t, "a", "zlib/1.3#r1@1")
	local.set(errors.New("disk I/O error"))
	wantOpen(t, "local broken", newReader(t, local, a), "zlib/1.3#r1", "a")
}

// A member that hides a revision is passed over for one that has it; if none has it, the reason is
// told, also if other members know nothing of it.
func TestHiddenRevision(t *testing.T) {
	hidden := &conan.HiddenError{Member: "a", Reason: "too young"}
	for name, items := range map[string][]string{"another has it": {"zlib/1.3#r1@1"}, "none has it": nil} {
		t.Run(name, func(t *testing.T) {
			a, b := newFake(t, "a", "zlib/1.3#r1@1"), newFake(t, "b", items...)
			a.set(hidden)
			reader := newReader(t, newFake(t, localName), a, b)
			s, err := reader.Snapshot(t.Context(), mustRevision(t, "zlib/1.3#r1"))
			if items != nil && (err != nil || s[0].MD5 != "b") {
				t.Errorf("files: %v, %v; want those of b", s, err)
			}
			if items == nil && !errors.Is(err, hidden) {
				t.Errorf("error %v, want the reason", err)
			}
		})
	}
}

// without are the rights of a caller who may read everything but what is in one member.
type without string

func (w without) MayRead(member string, _ conan.Ref) bool     { return member != string(w) }
func (w without) MayFind(member string, _ conan.Pattern) bool { return member != string(w) }

// Where a revision was found for one caller is no hint for a caller who may read other members.
func TestHintsArePerReadableMembers(t *testing.T) {
	a, b := newFake(t, "a", "zlib/1.3#r1@10"), newFake(t, "b", "zlib/1.3#r1@10")
	r := mustResolver(t, Options{Members: []Member{{Name: "a", Source: a}, {Name: "b", Source: b}}})
	wantOpen(t, "without a", plainReader{r.For(conan.AnyGeneration, without("a"))}, "zlib/1.3#r1", "b")
	wantOpen(t, "of both", plainReader{r.For(conan.AnyGeneration, nil)}, "zlib/1.3#r1", "a")
}
