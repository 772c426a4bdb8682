package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
)

// forged is a bundle whose digests are right, whatever else is changed.
type forged struct {
	config config
	layers []descriptor
	index  func(*index)
	about  func(*descriptor) // of the config
	header func(name string, h *tar.Header)
	extra  *tar.Header // after the last file
	bodies map[string][]byte
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// forge describes a recipe with one package.
func forge(t *testing.T) *forged {
	recipe := conantest.Recipe("zlib", "1.3")
	pkg := conantest.Package(recipe, conantest.File("lib/a", "a"))
	f := &forged{
		config: config{Reference: "zlib/1.3", RecipeRevision: recipe.RRev}, bodies: map[string][]byte{},
		index: func(*index) {}, about: func(*descriptor) {}, header: func(string, *tar.Header) {},
	}
	for _, set := range []conantest.Set{recipe, pkg} {
		f.config.Revisions = append(f.config.Revisions, revision{set.PackageID, set.PRev, published})
		for _, info := range set.Snapshot() {
			f.bodies[info.SHA256] = set.Files[info.Name]
			f.layers = append(f.layers, descriptor{fileType, digestPrefix + info.SHA256, info.Size, "", map[string]string{titleKey: titleOf(set.Revision, info.Name)}})
		}
	}
	return f
}

func (f *forged) text(t *testing.T) []byte {
	settings := mustJSON(t, f.config)
	m := manifest{2, manifestType, recipeType, descriptor{MediaType: configType, Digest: digestPrefix + digestOf(settings), Size: int64(len(settings))}, f.layers}
	f.about(&m.Config)
	described := mustJSON(t, m)
	var total int64
	seen := map[string]bool{}
	var files []string
	for _, l := range f.layers {
		digest := strings.TrimPrefix(l.Digest, digestPrefix)
		if _, earlier := l.Annotations[sinceKey]; !seen[digest] && !earlier {
			seen[digest] = true
			total += l.Size
			files = append(files, digest)
		}
	}
	x := index{2, indexType, bundleType, []descriptor{{
		manifestType, digestPrefix + digestOf(described), int64(len(described)), recipeType, map[string]string{refKey: f.config.Reference + ":" + f.config.RecipeRevision},
	}}, map[string]string{bytesKey: strconv.FormatInt(total, 10)}}
	f.index(&x)
	check, err := x.check()
	if err != nil {
		t.Fatal(err)
	}
	x.Annotations[checkKey] = check
	entries := []entry{{indexName, mustJSON(t, x)}, {layoutName, []byte(layoutText)}, {blobFolder + digestOf(described), described}, {blobFolder + digestOf(settings), settings}}
	for _, digest := range files {
		entries = append(entries, entry{blobFolder + digest, f.bodies[digest]})
	}
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.text)), Mode: 0o644}
		f.header(e.name, h)
		if h.Typeflag != tar.TypeReg {
			h.Size, e.text = 0, nil
		}
		if err := out.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(e.text); err != nil {
			t.Fatal(err)
		}
	}
	if f.extra != nil {
		if err := out.WriteHeader(f.extra); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// title gives the first layer another title.
func title(text string) func(*forged) {
	return func(f *forged) { f.layers[0].Annotations[titleKey] = text }
}

// since says that an earlier bundle has the rest.
func since(name string) func(*forged) {
	return func(f *forged) { f.index = func(x *index) { x.Annotations[sinceKey] = name } }
}

// blobHeader changes the header of a file.
func blobHeader(change func(*tar.Header)) func(*forged) {
	return func(f *forged) {
		digest := strings.TrimPrefix(f.layers[0].Digest, digestPrefix)
		f.header = func(name string, h *tar.Header) {
			if name == blobFolder+digest {
				change(h)
			}
		}
	}
}

func TestHostileBundlesAreRefused(t *testing.T) {
	if _, err := read(forge(t).text(t)); err != nil {
		t.Fatalf("what is not changed: %v", err)
	}
	for name, change := range map[string]func(*forged){
		"a path upwards":               title("recipe/../../etc/passwd"),
		"a path upwards in metadata":   title("recipe/metadata/../conanfile.py"),
		"an absolute path":             title("/etc/passwd"),
		"a file of a package":          title("recipe/conaninfo.txt"),
		"no title":                     func(f *forged) { f.layers[0].Annotations = nil },
		"more than a title":            func(f *forged) { f.layers[0].Annotations["more"] = "x" },
		"a title twice":                func(f *forged) { f.layers = append(f.layers[:1:1], f.layers...) },
		"a size below zero":            func(f *forged) { f.layers[0].Size = -1 },
		"an enormous size":             func(f *forged) { f.layers[0].Size = 1 << 62 },
		"two sizes of one digest":      func(f *forged) { f.layers[1].Digest = f.layers[0].Digest },
		"another size":                 func(f *forged) { f.layers[0].Size++ },
		"half a digest":                func(f *forged) { f.layers[0].Digest = f.layers[0].Digest[:40] },
		"a digest in capitals":         func(f *forged) { f.layers[0].Digest = digestPrefix + strings.ToUpper(f.layers[0].Digest[7:]) },
		"another algorithm":            func(f *forged) { f.layers[0].Digest = "md5:" + f.layers[0].Digest[7:] },
		"a digest that is a path":      func(f *forged) { f.layers[0].Digest = digestPrefix + strings.Repeat("../", 21) + "a" },
		"another media type":           func(f *forged) { f.layers[0].MediaType = "text/plain" },
		"a revision twice":             func(f *forged) { f.config.Revisions = append(f.config.Revisions, f.config.Revisions[1]) },
		"a package before its recipe":  func(f *forged) { f.config.Revisions = f.config.Revisions[1:]; f.layers = f.layers[2:] },
		"a revision without files":     func(f *forged) { f.layers = f.layers[:2] },
		"files of no revision":         func(f *forged) { f.config.Revisions = f.config.Revisions[:1] },
		"a strange reference":          func(f *forged) { f.config.Reference = "zlib/1.3@_/_" },
		"no reference":                 func(f *forged) { f.config.Reference = "../.." },
		"a mutable revision":           func(f *forged) { f.config.RecipeRevision = "0" },
		"a strange revision":           func(f *forged) { f.config.RecipeRevision = "a/b" },
		"a package without a revision": func(f *forged) { f.config.Revisions[1].PackageRevision = "" },
		"a time in another zone":       func(f *forged) { f.config.Revisions[0].Time = published.In(time.FixedZone("x", 3600)) },
		"a time in nanoseconds":        func(f *forged) { f.config.Revisions[0].Time = published.Add(1) },
		"an earlier bundle of no name": func(f *forged) { f.layers[0].Annotations[sinceKey] = "" },
		"control characters":           since("\x1b]0;pwned\a"),
		"half a name of an earlier":    since(strings.Repeat("a", 40)),
		"an empty name of an earlier":  since(""),
		"more annotations":             func(f *forged) { f.index = func(x *index) { x.Annotations["more"] = "x" } },
		"a sum with a sign":            func(f *forged) { f.index = func(x *index) { x.Annotations[bytesKey] = "+" + x.Annotations[bytesKey] } },
		"a layer of an artifact type":  func(f *forged) { f.layers[0].ArtifactType = "x" },
		"a config of an artifact type": func(f *forged) { f.about = func(d *descriptor) { d.ArtifactType = "x" } },
		"a config with annotations":    func(f *forged) { f.about = func(d *descriptor) { d.Annotations = map[string]string{"x": "y"} } },
		"a wrong sum":                  func(f *forged) { f.index = func(x *index) { x.Annotations[bytesKey] = "1" } },
		"a sum that is no number":      func(f *forged) { f.index = func(x *index) { x.Annotations[bytesKey] = "x" } },
		"another name of the manifest": func(f *forged) { f.index = func(x *index) { x.Manifests[0].Annotations[refKey] = "zlib/1.4:x" } },
		"a manifest twice":             func(f *forged) { f.index = func(x *index) { x.Manifests = append(x.Manifests, x.Manifests[0]) } },
		"no manifest":                  func(f *forged) { f.index = func(x *index) { x.Manifests = nil } },
		"a huge manifest":              func(f *forged) { f.index = func(x *index) { x.Manifests[0].Size = maxManifests + 1 } },
		"another version":              func(f *forged) { f.index = func(x *index) { x.ArtifactType = "application/vnd.conanproxy.bundle.v2" } },
		"a link in place of a file":    blobHeader(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd" }),
		"a hard link":                  blobHeader(func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "index.json" }),
		"a folder":                     blobHeader(func(h *tar.Header) { h.Typeflag = tar.TypeDir }),
		"a device":                     blobHeader(func(h *tar.Header) { h.Typeflag = tar.TypeBlock }),
		"a path in the tar":            blobHeader(func(h *tar.Header) { h.Name = "../" + h.Name }),
		"records in a header":          blobHeader(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y"} }),
		"something at the end":         func(f *forged) { f.extra = &tar.Header{Typeflag: tar.TypeReg, Name: "more"} },
	} {
		t.Run(name, func(t *testing.T) {
			f := forge(t)
			change(f)
			if _, err := read(f.text(t)); !errors.Is(err, conan.ErrInvalid) {
				t.Errorf("error %v, want one of the bundle", err)
			}
		})
	}
}

// TestHugeIndexIsRefused before memory is taken for it.
func TestHugeIndexIsRefused(t *testing.T) {
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: indexName, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if _, err := read(b.Bytes()); !errors.Is(err, conan.ErrInvalid) || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error %v", err)
	}
}
