package rebuild

import (
	"context"
	"io"
	"regexp"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Unnamed is what a manifest tells of a revision that the journal does not name.
type Unnamed struct {
	Manifest blob.Digest
	Package  bool
	ID       string // the RREV or PREV that the client computes from the manifest
	// Name and Version are those of a recipe, if its conanfile.py is there and says so; else empty.
	Name, Version string
}

// maxSmall bounds the blobs that are read to find manifests and recipes, in bytes.
const maxSmall = 1 << 20

// findUnnamed counts the blobs that the index does not name, and tells what the manifests among
// them say.
func findUnnamed(ctx context.Context, o Options, db *index.DB, r *Report) error {
	recipes := make(map[string]Unnamed) // md5 of a conanfile.py → its Name and Version
	manifests := make(map[blob.Digest]*conan.Manifest)
	err := o.Blobs.Walk(ctx, func(d blob.Digest, size int64) error {
		known, err := db.BlobNamed(ctx, string(d))
		if err != nil || known {
			return err
		}
		r.UnnamedBlobs++
		r.UnnamedBytes += size
		if o.Unnamed == nil || size > maxSmall {
			return nil
		}
		text, sums, err := readSmall(ctx, o.Blobs, d)
		if err != nil {
			return err
		}
		if m, err := conan.ParseManifest(text); err == nil {
			manifests[d] = m
		} else if name, version := nameAndVersion(text); name != "" {
			recipes[sums.MD5] = Unnamed{Name: name, Version: version}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for d, m := range manifests {
		u := recipes[m.MD5(conan.RecipeFile)]
		u.Manifest, u.ID = d, m.Summary()
		u.Package = m.MD5(conan.InfoFile) != ""
		o.Unnamed(u)
	}
	return nil
}

func readSmall(ctx context.Context, blobs *blob.Disk, d blob.Digest) ([]byte, blob.Sums, error) {
	r, err := blobs.Open(ctx, d)
	if err != nil {
		return nil, blob.Sums{}, err
	}
	defer r.Close()
	h := blob.NewHasher()
	text, err := io.ReadAll(io.TeeReader(r, h))
	return text, h.Sums(), err
}

var (
	recipeName    = regexp.MustCompile(`(?m)^\s+name\s*=\s*["']([^"'\n]+)["']`)
	recipeVersion = regexp.MustCompile(`(?m)^\s+version\s*=\s*["']([^"'\n]+)["']`)
)

// nameAndVersion are what a conanfile.py says of itself as plain attributes of its class.
func nameAndVersion(recipe []byte) (name, version string) {
	if m := recipeName.FindSubmatch(recipe); m != nil {
		name = string(m[1])
	}
	if m := recipeVersion.FindSubmatch(recipe); m != nil {
		version = string(m[1])
	}
	return name, version
}
