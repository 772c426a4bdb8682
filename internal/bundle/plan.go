package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"conanproxy/internal/conan"
	"conanproxy/internal/transfer"
)

// Since is an earlier bundle, whose files a later one leaves out.
type Since struct {
	Index string   `json:"index"` // sha256 of its index.json, in hex
	Blobs []string `json:"blobs"` // sha256 of its files, in hex
}

// Plan is what a bundle will have.
type Plan struct {
	Bytes int64 // of the files that it will have, without those of an earlier bundle

	from  transfer.From
	since Since
	left  map[string]bool // digests that are left out
	head  []entry         // what comes before the files
	files []file          // in the order of the bundle, each digest once
}

// entry is a small entry of the tar.
type entry struct {
	name string
	text []byte
}

// file is a blob that is read from the source.
type file struct {
	rev  conan.Revision
	info conan.FileInfo // size and sha256 are known
}

// NewPlan looks at pinned revisions and the recipes of their packages. Files whose digest the
// source does not know are read. The same revisions of a source give the same bundle, byte for
// byte.
func NewPlan(ctx context.Context, from transfer.From, revs []conan.Revision, since Since) (*Plan, error) {
	if _, err := hexOf(digestPrefix + since.Index); since.Index != "" && err != nil {
		return nil, fmt.Errorf("%w: the name of the earlier bundle is not a sha256", conan.ErrInvalid)
	}
	items, err := transfer.InOrder(ctx, from, revs)
	if err != nil {
		return nil, err
	}
	p := &Plan{from: from, since: since, left: make(map[string]bool, len(since.Blobs))}
	for _, sum := range since.Blobs {
		p.left[sum] = true
	}
	b := builder{Plan: p, seen: make(map[string]bool)}
	for _, item := range items {
		if err := b.add(ctx, item); err != nil {
			return nil, fmt.Errorf("%s: %w", item.Revision, err)
		}
	}
	return p, b.finish()
}

// builder makes the manifests of a plan.
type builder struct {
	*Plan
	recipe    conan.Revision // of the manifest that is being made
	config    config
	layers    []descriptor
	size      int // about, of the manifest
	seen      map[string]bool
	manifests []descriptor
	texts     [2][]entry // manifests and configs
}

// add puts a revision into the manifest, or into another one if it has no room for it.
func (b *builder) add(ctx context.Context, item transfer.Item) error {
	if item.Mutable() {
		return fmt.Errorf("%w: it has no revision, so it cannot be in a bundle", conan.ErrInvalid)
	}
	answer, err := b.from.Snapshot(ctx, item.Revision)
	if err != nil {
		return err
	}
	var layers []descriptor
	size := 0
	for _, f := range answer.Value {
		if conan.CheckFileName(f.Name, item.IsPackage()) != nil {
			continue // another server's own file
		}
		layer, err := b.layer(ctx, item.Revision, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		layers = append(layers, layer)
		const about = 300 // with all but the title
		size += about + len(layer.Annotations[titleKey])
	}
	if recipe := item.Recipe(); recipe != b.recipe || b.size+size > maxManifest-maxManifest/8 {
		if err := b.flush(); err != nil {
			return err
		}
		b.recipe = recipe
		b.config = config{Reference: recipe.Ref.String(), RecipeRevision: recipe.RRev}
	}
	b.config.Revisions = append(b.config.Revisions, revision{item.PackageID, item.PRev, item.Time})
	b.layers = append(b.layers, layers...)
	b.size += size
	return nil
}

// layer describes a file and notes that the bundle will have it.
func (b *builder) layer(ctx context.Context, rev conan.Revision, f conan.FileInfo) (descriptor, error) {
	f, err := b.known(ctx, rev, f)
	if err != nil {
		return descriptor{}, err
	}
	layer := descriptor{MediaType: fileType, Digest: digestPrefix + f.SHA256, Size: f.Size, Annotations: map[string]string{titleKey: titleOf(rev, f.Name)}}
	if b.left[f.SHA256] {
		layer.Annotations[sinceKey] = b.since.Index
		return layer, nil
	}
	if !b.seen[f.SHA256] {
		b.seen[f.SHA256] = true
		b.files = append(b.files, file{rev, f})
		b.Bytes += f.Size
	}
	return layer, nil
}

// known finds size and digest of a file by reading it, if the source does not know them.
func (b *builder) known(ctx context.Context, rev conan.Revision, f conan.FileInfo) (conan.FileInfo, error) {
	if f.SHA256 != "" && f.Size >= 0 {
		return f, nil
	}
	answer, err := b.from.Open(ctx, rev, f.Name)
	if err != nil {
		return f, err
	}
	defer answer.Value.Close()
	sum := sha256.New()
	f.Size, err = io.Copy(sum, answer.Value)
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return f, err
}

// flush ends the manifest that is being made.
func (b *builder) flush() error {
	if len(b.config.Revisions) == 0 {
		return nil
	}
	settings, err := json.Marshal(b.config)
	if err != nil {
		return err
	}
	text, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: manifestType, ArtifactType: recipeType, Layers: b.layers,
		Config: descriptor{MediaType: configType, Digest: digestPrefix + digestOf(settings), Size: int64(len(settings))},
	})
	if err != nil {
		return err
	}
	if len(text) > maxManifest || len(settings) > maxManifest {
		return fmt.Errorf("%w: %s has too many files for a bundle", conan.ErrInvalid, b.recipe)
	}
	b.manifests = append(b.manifests, descriptor{
		MediaType: manifestType, Digest: digestPrefix + digestOf(text), Size: int64(len(text)), ArtifactType: recipeType,
		Annotations: map[string]string{refKey: refNameOf(b.recipe)},
	})
	for i, part := range [][]byte{text, settings} {
		b.texts[i] = append(b.texts[i], entry{blobFolder + digestOf(part), part})
	}
	b.config, b.layers, b.size = config{}, nil, 0
	return nil
}

// finish makes the index.
func (b *builder) finish() error {
	if err := b.flush(); err != nil {
		return err
	}
	x := index{
		SchemaVersion: 2, MediaType: indexType, ArtifactType: bundleType, Manifests: b.manifests,
		Annotations: map[string]string{bytesKey: strconv.FormatInt(b.Bytes, 10)},
	}
	if b.since.Index != "" {
		x.Annotations[sinceKey] = b.since.Index
	}
	check, err := x.check()
	if err != nil {
		return err
	}
	x.Annotations[checkKey] = check
	text, err := json.Marshal(x)
	if err != nil {
		return err
	}
	b.head = slices.Concat([]entry{{indexName, text}, {layoutName, []byte(layoutText)}}, b.texts[0], b.texts[1])
	total := 0
	for _, e := range b.head {
		total += len(e.text)
	}
	if len(text) > maxIndex || total > maxManifests {
		return fmt.Errorf("%w: the selection has too many revisions for one bundle; make several", conan.ErrInvalid)
	}
	return nil
}
