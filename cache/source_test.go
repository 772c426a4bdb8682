package cache

import (
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// The cache keeps the contract of a Source over an upstream that has exactly what it tells of.
func TestSource(t *testing.T) {
	conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
		up := newFake()
		for _, s := range sets {
			up.add(s.Revision, s.Time.Unix(), s.Files)
			if s.IsPackage() {
				up.setPackage(s.Recipe(), conan.Package{ID: s.PackageID, Info: string(s.Files[conan.InfoFile])})
			} else {
				up.packages[s.Revision] = []conan.Package{}
			}
		}
		b := newBench(t, up, nil)
		t.Cleanup(func() { b.end(t) })
		return b.Cache
	})
}
