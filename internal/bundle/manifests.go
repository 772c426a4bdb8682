package bundle

import (
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/transfer"
)

// readManifests reads the manifests and configs that the index names, and lists what they describe.
func (b *Reader) readManifests(x index) error {
	manifests := make([]manifest, len(x.Manifests))
	var total int64
	for i, d := range x.Manifests {
		if total += d.Size; d.MediaType != manifestType || d.ArtifactType != recipeType || len(d.Annotations) != 1 || total > maxManifests {
			return damaged("%s has an entry that is no recipe revision, or too many", indexName)
		}
		if err := b.readDescribed(d, &manifests[i]); err != nil {
			return err
		}
	}
	for i, m := range manifests {
		if total += m.Config.Size; m.SchemaVersion != 2 || m.MediaType != manifestType || m.ArtifactType != recipeType ||
			!m.Config.isOnly(configType) || m.Config.Annotations != nil || total > maxManifests {
			return damaged("a manifest is not that of a recipe revision, or the manifests are too large")
		}
		var c config
		if err := b.readDescribed(m.Config, &c); err != nil {
			return err
		}
		if err := b.describe(c, m.Layers, x.Manifests[i].Annotations[refKey]); err != nil {
			return err
		}
	}
	return b.checkWhole()
}

// readDescribed reads the next entry, which must be what a descriptor says.
func (b *Reader) readDescribed(d descriptor, v any) error {
	digest, err := hexOf(d.Digest)
	if err != nil {
		return damaged("%w", err)
	}
	text, err := readEntry(b.tar, blobFolder+digest, maxManifest)
	if err != nil {
		return err
	}
	if int64(len(text)) != d.Size || digestOf(text) != digest {
		return damaged("the manifest %s was changed", digest)
	}
	if err := decode(text, v); err != nil {
		return damaged("the manifest %s: %w", digest, err)
	}
	return nil
}

// describe adds the revisions of a manifest with their files.
func (b *Reader) describe(c config, layers []descriptor, refName string) error {
	ref, err := conan.ParseRef(c.Reference)
	if err != nil || ref.String() != c.Reference {
		return damaged("%.200q is not a reference", c.Reference)
	}
	for _, r := range c.Revisions {
		rev, err := conan.NewRevision(ref, c.RecipeRevision, r.PackageID, r.PackageRevision)
		if err != nil || !rev.Pinned() || rev.Mutable() || refName != refNameOf(rev.Recipe()) {
			return damaged("%.200q is not a revision, or is that of another manifest", rev)
		}
		files, err := b.filesOf(rev, &layers)
		if err != nil {
			return err
		}
		if err := b.addItem(transfer.Item{Revision: rev, Time: r.Time}, files); err != nil {
			return err
		}
	}
	if len(layers) > 0 {
		return damaged("a manifest of %s has files of no revision", c.Reference)
	}
	return nil
}

// filesOf takes the layers of a revision from the front of the list.
func (b *Reader) filesOf(rev conan.Revision, layers *[]descriptor) (conan.Snapshot, error) {
	var files conan.Snapshot
	prefix := titlePrefix(rev)
	for ; len(*layers) > 0; *layers = (*layers)[1:] {
		layer := (*layers)[0]
		name, ok := strings.CutPrefix(layer.Annotations[titleKey], prefix)
		if !ok {
			break
		}
		digest, err := hexOf(layer.Digest)
		if err != nil || !layer.isOnly(fileType) || layer.Size < 0 || layer.Size > maxFile || conan.CheckFileName(name, rev.IsPackage()) != nil {
			return nil, damaged("%s has an impossible file %.200q", rev, name)
		}
		if n := len(files); n > 0 && files[n-1].Name >= name {
			return nil, damaged("the files of %s are not sorted", rev)
		}
		files = append(files, conan.FileInfo{Name: name, Size: layer.Size, SHA256: digest})
		if err := b.addBlob(blob{digest, layer.Size}, layer.Annotations); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, damaged("%s has no files", rev)
	}
	return files, nil
}

// addBlob notes where the bytes of a layer are: in this bundle or in the earlier one.
func (b *Reader) addBlob(next blob, annotations map[string]string) error {
	if earlier, ok := annotations[sinceKey]; ok {
		if _, here := b.places[next.digest]; here || b.Since == "" || earlier != b.Since || len(annotations) != 2 {
			return damaged("a file is said to be in another bundle than the earlier one")
		}
		b.left[next.digest] = true
		return nil
	}
	place, there := b.places[next.digest]
	switch {
	case b.left[next.digest] || len(annotations) != 1 || there && b.blobs[place].size != next.size:
		return damaged("two files contradict each other")
	case !there:
		b.places[next.digest] = len(b.blobs)
		b.blobs = append(b.blobs, next)
	}
	return nil
}

// addItem adds a revision, whose recipe must have come before it.
func (b *Reader) addItem(item transfer.Item, files conan.Snapshot) error {
	_, twice := b.files[item.Revision]
	if _, ok := b.files[item.Recipe()]; twice || !ok && item.IsPackage() || item.Time.Location() != time.UTC || item.Time.Nanosecond()%1000 != 0 {
		return damaged("%s is there twice, comes before its recipe, or has no time in microseconds of UTC", item.Revision)
	}
	b.files[item.Revision] = files
	b.items = append(b.items, item)
	node := item.With("")
	b.lists[node] = append(b.lists[node], conan.RevisionTime{ID: item.ID(), Time: item.Time})
	return nil
}

// checkWhole compares what the manifests say with the index.
func (b *Reader) checkWhole() error {
	var total int64
	for _, next := range b.blobs {
		if total += next.size; total < 0 || total > maxFile {
			return damaged("its files are too large")
		}
	}
	if total != b.Bytes {
		return damaged("its files do not have the number of bytes that %s says", indexName)
	}
	for _, list := range b.lists {
		slices.Reverse(list)
		if !slices.IsSortedFunc(list, func(a, b conan.RevisionTime) int { return b.Time.Compare(a.Time) }) {
			return damaged("the revisions of a reference are not in the order of their times")
		}
	}
	return nil
}
