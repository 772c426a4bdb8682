package localstore

import (
	"bytes"
	"testing"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

func TestSource(t *testing.T) {
	conantest.TestSource(t, func(t *testing.T, sets ...conantest.Set) conan.Source {
		e := newEnv(t)
		for _, set := range sets {
			for _, name := range set.Names() {
				if err := e.Put(t.Context(), conan.Upload{Revision: set.Revision, Name: name, Size: int64(len(set.Files[name])), Body: bytes.NewReader(set.Files[name])}); err != nil {
					t.Fatal(err)
				}
			}
		}
		return e.Store
	})
}

func TestPublisher(t *testing.T) {
	conantest.TestPublisher(t, func(t *testing.T) conantest.Store { return newEnv(t).Store })
}
