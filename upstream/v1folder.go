package upstream

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"conanproxy/internal/conan"
)

const (
	maxFolders   = 1024            // of which something is remembered
	keepManifest = 16 << 10        // larger ones are fetched again when they are opened
	recipeMemory = time.Minute     // how long a recipe is taken to be the current one, for its packages
	folderMemory = 5 * time.Minute // how long md5 sums and file URLs are used without asking again
)

// folder is the unit of v1: a recipe, or a package of the recipe that is the current one.
type folder struct {
	ref conan.Ref
	pid string
}

func folderOf(rev conan.Revision) folder { return folder{ref: rev.Ref, pid: rev.PackageID} }

func (f folder) path() string {
	path := "/v1/conans/" + f.ref.Path()
	if f.pid != "" {
		path += "/packages/" + f.pid
	}
	return path
}

// direct is the file whose md5 stands in the manifest too, since it is not inside an archive.
func (f folder) direct() string {
	if f.pid != "" {
		return conan.InfoFile
	}
	return conan.RecipeFile
}

// content is that of a folder when its manifest was read.
type content struct {
	id       string    // the revision that the manifest makes, or MutableRevision without a usable manifest
	time     time.Time // first line of the manifest, else when it was first seen
	manifest []byte    // nil if there is none or it is large
	md5      string    // of the manifest's bytes; empty if there is none
	direct   string    // md5 of folder.direct by the manifest
	readAt   time.Time
	files    conan.Snapshot // nil until listed
	listed   conan.Snapshot // the list that checked the manifest, for its first use; else nil
}

// folders remember a v1 server: bounded, and never trusted longer than folderMemory. What a
// question finds out goes to the folders that were there when it was asked.
type folders struct {
	contents *lru.Cache[folder, content]
	urls     *lru.Cache[folder, fileURLs]
	reads    shared[content]
	asks     shared[fileURLs]
}

// Forget forgets what the server said of its folders lately. What it still answers to questions
// from before is not remembered, and later questions do not wait for it.
func (r *Remote) Forget() {
	contents, _ := lru.New[folder, content](maxFolders) // fails only without a size
	urls, _ := lru.New[folder, fileURLs](maxFolders)
	r.folders.Store(&folders{contents: contents, urls: urls})
}

// invalidate drops a folder from memory.
func (s *folders) invalidate(f folder) {
	s.contents.Remove(f)
	s.urls.Remove(f)
}

// remembered is the content of a folder if it was rev's not longer than age ago. Mutable content is
// not remembered.
func (v v1) remembered(rev conan.Revision, age time.Duration) (content, bool) {
	c, ok := v.folders.Load().contents.Get(folderOf(rev))
	ok = ok && c.id == rev.ID() && c.id != conan.MutableRevision && v.now().Sub(c.readAt) < age
	return c, ok
}

// read asks for the manifest of a folder and computes its revision, once for all callers at a time.
// readOnce is for those that must not have an answer from before their call.
func (v v1) read(ctx context.Context, f folder) (content, error) {
	return v.folders.Load().reads.do(ctx, f.path(), v.sharedTimeout(), func(ctx context.Context) (content, error) {
		return v.readOnce(ctx, f)
	})
}

func (v v1) readOnce(ctx context.Context, f folder) (content, error) {
	memory := v.folders.Load()
	var digest map[string]json.RawMessage
	if err := v.object(ctx, f.path()+"/digest", nil, &digest); err != nil {
		return content{}, err
	}
	if len(digest) == 0 {
		return content{}, errNotThere
	}
	if !namesFiles(digest, f) {
		return content{}, errShape
	}
	c := content{id: conan.MutableRevision}
	if raw, ok := digest[conan.ManifestFile]; ok {
		manifest, err := v.fetchManifest(ctx, raw)
		if err != nil {
			return content{}, err
		}
		c = contentOf(f, manifest)
	}
	c.readAt = v.now()
	old, same := memory.contents.Get(f)
	same = same && old.id == c.id
	if c.time.IsZero() {
		c.time = c.readAt.UTC().Truncate(time.Microsecond)
		if same {
			c.time = old.time
		}
	}
	if same && old.md5 == c.md5 && c.id != conan.MutableRevision {
		c.files = old.files
	} else {
		memory.urls.Remove(f)
		if err := v.checkManifest(ctx, f, &c); err != nil {
			return content{}, err
		}
	}
	memory.contents.Add(f, c)
	return c, nil
}

// checkManifest compares a new manifest with the md5 that the server lists of it, where it lists
// one. A manifest that was damaged on the way would otherwise be a revision that does not exist.
func (v v1) checkManifest(ctx context.Context, f folder, c *content) error {
	if c.id == conan.MutableRevision {
		return nil
	}
	list, err := v.fileList(ctx, f)
	if isNotFound(err) {
		return nil // it was removed just now, or is not listed: asking for the files will tell
	}
	if err != nil {
		return err
	}
	if manifest, ok := list.Find(conan.ManifestFile); ok && manifest.MD5 != "" && manifest.MD5 != c.md5 {
		return badAnswer("sends a manifest that does not have the md5 that it lists")
	}
	c.listed = list
	return nil
}

// namesFiles tells whether an object has a name that a file of the folder may have.
func namesFiles(object map[string]json.RawMessage, f folder) bool {
	for name := range object {
		if conan.CheckFileName(name, f.pid != "") == nil {
			return true
		}
	}
	return false
}

func (v v1) fetchManifest(ctx context.Context, raw json.RawMessage) ([]byte, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil, badAnswer("answered with a file URL that is not a text")
	}
	u, err := v.complete(text)
	if err != nil {
		return nil, err
	}
	manifest, err := v.document(ctx, u, documentLimits{want: expectFile, name: conan.ManifestFile, most: conan.MaxManifestSize})
	if isNotFound(err) {
		return nil, badAnswer("names a manifest that it does not serve")
	}
	return manifest, err
}

// contentOf computes the revision of a folder from its manifest. One that cannot be read is of the
// mutable revision.
func contentOf(f folder, manifest []byte) content {
	sum := md5.Sum(manifest)
	c := content{id: conan.MutableRevision, md5: hex.EncodeToString(sum[:])}
	if len(manifest) <= keepManifest {
		c.manifest = manifest
	}
	m, err := conan.ParseManifest(manifest)
	if err != nil {
		return c
	}
	c.id, c.direct = m.Summary(), m.MD5(f.direct())
	if t := time.Unix(m.Time, 0).UTC(); usable(t) {
		c.time = t
	}
	return c
}

// checkRecipe tells for a package whether its recipe revision is the current one: v1 shows no
// packages of others.
func (v v1) checkRecipe(ctx context.Context, rev conan.Revision) error {
	if !rev.IsPackage() {
		return nil
	}
	return v.checkCurrent(ctx, rev.Recipe())
}

// checkCurrent tells whether a recipe revision is the current one.
func (v v1) checkCurrent(ctx context.Context, recipe conan.Revision) error {
	if _, ok := v.remembered(recipe, recipeMemory); ok {
		return nil
	}
	c, err := v.read(ctx, folderOf(recipe))
	if err != nil {
		return err
	}
	if c.id != recipe.RRev {
		return errNotThere
	}
	return nil
}
