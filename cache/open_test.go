package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"conanproxy/internal/conan"
)

func TestOpenFillsOnceAndHits(t *testing.T) {
	up := newFake()
	recipe := up.addRecipe(t, "zlib/1.3", "int a;", 100)
	b := newBench(t, up, nil)
	defer b.end(t)
	for name, want := range up.files[recipe] {
		if got := b.read(t, recipe, name); !bytes.Equal(got, want) {
			t.Errorf("%s: wrong bytes on the first read", name)
		}
	}
	asked := up.times("")
	for name, want := range up.files[recipe] {
		var f *conan.File
		origin, err := traced(t, func(ctx context.Context) (err error) {
			f, err = b.Open(ctx, recipe, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !f.Verified() || f.Size != int64(len(want)) || f.MD5 != md5Of(want) || f.SHA256 == "" {
			t.Errorf("%s: %+v", name, f.FileInfo)
		}
		if _, ok := f.ReadCloser.(*os.File); !ok {
			t.Errorf("%s is read through %T", name, f.ReadCloser)
		}
		if origin.State != conan.StateHit || !origin.Expires.Equal(conan.Forever) {
			t.Errorf("%s: origin %+v", name, origin)
		}
		f.Close()
	}
	if up.times("") != asked {
		t.Errorf("hits asked upstream %d times", up.times("")-asked)
	}
	if up.times("open") != 4 || up.times("files") != 1 {
		t.Errorf("asked %v", up.asked)
	}
	if _, err := b.Open(context.Background(), recipe, "conan_package.tgz"); !errors.Is(err, conan.ErrNotFound) {
		t.Errorf("a file that is not listed: %v", err)
	}
}
