package resolver

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func TestNewest(t *testing.T) {
	tests := []struct {
		name          string
		rev           string
		local, a, b   []string
		aDown, bDown  bool
		want, wantErr string
	}{
		{name: "recipe", rev: "zlib/1.3", a: []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2"}, want: "zlib/1.3#r2"},
		{name: "pinned recipe", rev: "zlib/1.3#r1", want: "zlib/1.3#r1"},
		{name: "pinned package", rev: "zlib/1.3#r1:p1#x", want: "zlib/1.3#r1:p1#x"},
		{
			name: "package of a named recipe revision", rev: "zlib/1.3#r1:p1", a: []string{"zlib/1.3#r2@2", "zlib/1.3#r1:p1#x@1", "zlib/1.3#r1:p1#y@2"},
			want: "zlib/1.3#r1:p1#y",
		},
		{
			name: "package of the newest", rev: "zlib/1.3:p1",
			a:    []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2", "zlib/1.3#r1:p1#x@9", "zlib/1.3#r2:p1#y@3"},
			want: "zlib/1.3#r2:p1#y",
		},
		{
			name: "package of older ones, the newest of them", rev: "zlib/1.3:p1",
			a:    []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2", "zlib/1.3#r3@3", "zlib/1.3#r1:p1#x@9", "zlib/1.3#r2:p1#y@3", "zlib/1.3#r3:p2#z@3"},
			want: "zlib/1.3#r2:p1#y",
		},
		{
			name: "older ones of the same member only", rev: "zlib/1.3:p1",
			a: []string{"zlib/1.3#r2@2"}, b: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@9"}, wantErr: "not found",
		},
		{
			name: "local binary for an older upstream recipe", rev: "zlib/1.3:p1",
			local: []string{"zlib/1.3#r1@1*", "zlib/1.3#r1:p1#mine@5"}, a: []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2"},
			want: "zlib/1.3#r1:p1#mine",
		},
		{name: "no recipe", rev: "zlib/1.3:p1", wantErr: "not found"},
		{name: "no package", rev: "zlib/1.3:p1", a: []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2"}, wantErr: "not found"},
		{name: "first down", rev: "zlib/1.3:p1", aDown: true, b: []string{"zlib/1.3#r1@1"}, wantErr: "unavailable a"},
		{name: "package could not be told", rev: "zlib/1.3:p1", a: []string{"zlib/1.3#r1@1"}, bDown: true, wantErr: "unavailable b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			got, err := newReader(t, local, a, b).Newest(t.Context(), mustRevision(t, tt.rev))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if err == nil && got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Every recipe revision is looked at once.
func TestNewestAsksOnce(t *testing.T) {
	a := newFake(t, "a", "zlib/1.3#r1@1", "zlib/1.3#r2@2", "zlib/1.3#r3@3", "zlib/1.3#r2:p1#x@9", "zlib/1.3#r1:p1#x@9")
	if _, err := newReader(t, nil, a).Newest(t.Context(), mustRevision(t, "zlib/1.3:p1")); err != nil {
		t.Fatal(err)
	}
	want := []string{"Latest zlib/1.3", "Latest zlib/1.3#r3:p1", "Revisions zlib/1.3", "Latest zlib/1.3#r2:p1"}
	if diff := cmp.Diff(want, a.asked()); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

func TestNewestFailsInAnOlderRevision(t *testing.T) {
	a := newFake(t, "a", "zlib/1.3#r1@1", "zlib/1.3#r2@2")
	a.errOn["Revisions"] = down("a")
	_, err := newReader(t, nil, a).Newest(t.Context(), mustRevision(t, "zlib/1.3:p1"))
	if word(err) != "unavailable a" {
		t.Errorf("error %v, want unavailable a: an older revision could have the package", err)
	}
}

func TestAllPackages(t *testing.T) {
	tests := []struct {
		name    string
		local   []string
		a, b    []string
		want    []conan.Package
		wantErr string
	}{
		{
			name: "every revision, the newest's first",
			a:    []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2", "zlib/1.3#r1:p1#x@1", "zlib/1.3#r1:p2#x@1", "zlib/1.3#r2:p2#x@2"},
			want: []conan.Package{{ID: "p1", Info: "a"}, {ID: "p2", Info: "a"}},
		},
		{
			name:  "local binaries of an upstream recipe",
			local: []string{"zlib/1.3#r1@1*", "zlib/1.3#r1:p3#mine@5"}, a: []string{"zlib/1.3#r1@1", "zlib/1.3#r2@2", "zlib/1.3#r2:p1#x@1"},
			want: []conan.Package{{ID: "p1", Info: "a"}, {ID: "p3", Info: "local"}},
		},
		{name: "revisions of the member that has the newest", a: []string{"zlib/1.3#r2@2"}, b: []string{"zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@1"}, want: []conan.Package{}},
		{name: "no recipe", wantErr: "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := newFake(t, localName, tt.local...), newFake(t, "a", tt.a...), newFake(t, "b", tt.b...)
			got, err := newReader(t, local, a, b).AllPackages(t.Context(), mustRef(t, "zlib/1.3"))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllPackagesFails(t *testing.T) {
	for _, method := range []string{"Latest", "Revisions", "Packages"} {
		a := newFake(t, "a", "zlib/1.3#r1@1", "zlib/1.3#r1:p1#x@1")
		a.errOn[method] = down("a")
		_, err := newReader(t, newFake(t, localName), a).AllPackages(t.Context(), mustRef(t, "zlib/1.3"))
		if word(err) != "unavailable a" {
			t.Errorf("%s fails: error %v, want unavailable a", method, err)
		}
	}
}
