// Package bundle writes and reads bundles: files with revisions of packages and their bytes, for
// carrying them to another server. A bundle is an OCI image layout in one tar, whose entries have a
// fixed order:
//
//	index.json.minisig   if it is signed
//	index.json           one manifest for each recipe revision, or several if it has very many files
//	oci-layout
//	blobs/sha256/...     the manifests, their configs, then the files of the revisions
//
// The config of a manifest names its revisions and their times, its layers are their files. Both
// writing and reading stream. What a Reader accepts is exactly what Plan.Write makes, padding and
// the times in headers apart: a list of expected entries leaves no room for links, strange paths,
// duplicates or other lengths.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// The names and contents of entries.
const (
	signatureName = "index.json.minisig"
	indexName     = "index.json"
	layoutName    = "oci-layout"
	layoutText    = `{"imageLayoutVersion":"1.0.0"}`
	blobFolder    = "blobs/sha256/"
)

// Media types and annotations.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	bundleType   = "application/vnd.conanproxy.bundle.v1"
	recipeType   = "application/vnd.conanproxy.recipe.v1"
	configType   = "application/vnd.conanproxy.recipe.config.v1+json"
	fileType     = "application/octet-stream"

	titleKey = "org.opencontainers.image.title"
	refKey   = "org.opencontainers.image.ref.name"
	bytesKey = "conanproxy.bytes" // of the index: the sum of the files that the bundle has
	sinceKey = "conanproxy.since" // of the index: the earlier bundle; of a layer: its bytes are there only
	checkKey = "conanproxy.check" // of the index: the sha256 of the index without this annotation
)

// Bounds of what is read, in bytes.
const (
	maxSignature = 4 << 10
	maxIndex     = 16 << 20
	maxManifest  = 4 << 20 // of a manifest or a config; standard tools accept no larger ones
	maxManifests = 128 << 20
	maxFile      = 1 << 50
)

// descriptor names bytes.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// isOnly tells whether a descriptor has a media type and no artifact type.
func (d descriptor) isOnly(media string) bool { return d.MediaType == media && d.ArtifactType == "" }

// index is index.json.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations"`
}

// check is a sum that finds changes of an index that is not signed.
func (x index) check() (string, error) {
	x.Annotations = maps.Clone(x.Annotations)
	delete(x.Annotations, checkKey)
	text, err := json.Marshal(x)
	return digestOf(text), err
}

// manifest describes a recipe revision with some of its packages.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// config says what the layers of a manifest are: the files of these revisions, in this order.
type config struct {
	Reference      string     `json:"reference"`
	RecipeRevision string     `json:"recipe_revision"`
	Revisions      []revision `json:"revisions"`
}

// revision is the recipe revision, if PackageID is empty, or one of its package revisions.
type revision struct {
	PackageID       string    `json:"package_id,omitempty"`
	PackageRevision string    `json:"package_revision,omitempty"`
	Time            time.Time `json:"time"`
}

// titleOf is the title of a layer: a path that is unique in its manifest.
func titleOf(rev conan.Revision, name string) string { return titlePrefix(rev) + name }

func titlePrefix(rev conan.Revision) string {
	if rev.IsPackage() {
		return "package/" + rev.PackageID + "/" + rev.PRev + "/"
	}
	return "recipe/"
}

// refNameOf is the name by which standard tools choose a manifest: their grammar has no "#".
func refNameOf(recipe conan.Revision) string { return recipe.Ref.String() + ":" + recipe.RRev }

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

const digestPrefix = "sha256:"

// hexOf is the digest of a descriptor without its algorithm.
func hexOf(digest string) (string, error) {
	sum, ok := strings.CutPrefix(digest, digestPrefix)
	if b, err := hex.DecodeString(sum); !ok || err != nil || len(b) != sha256.Size || sum != strings.ToLower(sum) {
		return "", errors.New("a digest is not that of a sha256")
	}
	return sum, nil
}

// decode reads JSON that must be exactly what encoding v gives.
func decode(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err == nil && !bytes.Equal(again, text) {
		err = errors.New("its JSON is not in the form in which it is written")
	}
	return err
}

// damaged is the error of what is not a whole bundle.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: the bundle is damaged, cut short, or none: %w", conan.ErrInvalid, fmt.Errorf(format, args...))
}
