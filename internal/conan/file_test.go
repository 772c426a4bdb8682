package conan

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestCheckFileName(t *testing.T) {
	tests := []struct {
		name            string
		recipe, pkg, v1 bool
	}{
		{"conanmanifest.txt", true, true, true},
		{"conanfile.py", true, false, true},
		{"conaninfo.txt", false, true, true},
		{"conan_export.tgz", true, false, true},
		{"conan_export.txz", true, false, false},
		{"conan_sources.tgz", true, false, true},
		{"conan_sources.tzst", true, false, false},
		{"conan_package.tgz", false, true, true},
		{"conan_package.txz", false, true, false},
		{"conan_package.tzst", false, true, false},
		{"metadata/sign/pkgsign-manifest.json", true, true, false},
		{"metadata/logs/a b.log", true, true, false},
		{"metadata/i+j;k=ü#%", true, true, false},
		{"metadata/" + strings.Repeat("x", 1015), true, true, false},
		{"metadata/" + strings.Repeat("x", 1016), false, false, false},
		{"metadata/", false, false, false},
		{"metadata", false, false, false},
		{"metadata/../conanfile.py", false, false, false},
		{"metadata/a/./b", false, false, false},
		{"metadata//b", false, false, false},
		{"metadata/a/", false, false, false},
		{"metadata/a\x1b[2J", false, false, false},
		{"metadata/a\u009b2J", false, false, false},
		{`metadata/a\b`, false, false, false},
		{"metadata/a\x00b", false, false, false},
		{"metadata/a\nb", false, false, false},
		{"metadata/\xff", false, false, false},
		{"", false, false, false},
		{"conanfile.pyc", false, false, false},
		{"conanfile.txt", false, false, false},
		{"Conanfile.py", false, false, false},
		{"conan_package.tgz.bak", false, false, false},
		{"conan_package.tar", false, false, false},
		{"conan_package.", false, false, false},
		{"conan_package", false, false, false},
		{"../conanfile.py", false, false, false},
		{"/etc/passwd", false, false, false},
		{"a/conanfile.py", false, false, false},
		{"conanfile.py\n", false, false, false},
	}
	for _, tt := range tests {
		for pkg, want := range map[bool]bool{false: tt.recipe, true: tt.pkg} {
			err := CheckFileName(tt.name, pkg)
			if (err == nil) != want || (err != nil && !errors.Is(err, ErrInvalid)) {
				t.Errorf("CheckFileName(%.60q, pkg %v): got %v, want ok %v", tt.name, pkg, err, want)
			}
		}
		if got := IsV1File(tt.name); got != tt.v1 {
			t.Errorf("IsV1File(%.60q): got %v, want %v", tt.name, got, tt.v1)
		}
	}
}

func FuzzCheckFileName(f *testing.F) {
	for _, s := range []string{"conanfile.py", "conan_package.tzst", "metadata/a/b", "metadata/../x", `metadata\x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		recipe, pkg := CheckFileName(name, false), CheckFileName(name, true)
		if IsArchive(name) && (recipe == nil) == (pkg == nil) {
			t.Fatalf("archive %q is of both folders or of none", name)
		}
		if recipe != nil && pkg != nil {
			return
		}
		if strings.ContainsAny(name, "\\\x00\r\n") || strings.Contains("/"+name+"/", "/../") || strings.Contains(name, "//") || name[0] == '/' {
			t.Fatalf("unsafe name %q is accepted", name)
		}
		if IsMetadata(name) != strings.Contains(name, "/") {
			t.Fatalf("%q has a folder other than metadata", name)
		}
	})
}

func TestSnapshotFind(t *testing.T) {
	s := Snapshot{{Name: "conanmanifest.txt"}, {Name: "conanfile.py", Size: 3}, {Name: "conan_export.tgz"}}
	s.Sort()
	if s[0].Name != "conan_export.tgz" || s[2].Name != "conanmanifest.txt" {
		t.Errorf("sorted: %v", s)
	}
	if f, ok := s.Find("conanfile.py"); !ok || f.Size != 3 {
		t.Errorf("found %v, %v", f, ok)
	}
	for _, name := range []string{"", "conan", "zzz"} {
		if f, ok := s.Find(name); ok {
			t.Errorf("found %v for %q", f, name)
		}
	}
}

func TestFileVerified(t *testing.T) {
	if !(&File{}).Verified() {
		t.Error("a file without Wait is not verified")
	}
	if (&File{Wait: func(context.Context) (*File, error) { return nil, nil }}).Verified() {
		t.Error("a file with Wait is verified")
	}
}
