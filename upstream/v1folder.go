package upstream

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"conanproxy/internal/conan"
)

const (
	knownFolders  = 1024            // folders of which something is remembered
	keepManifest  = 16 << 10        // larger ones are fetched again when they are opened
	recipeMemory  = time.Minute     // how long a recipe is taken to be the current one, for its packages
	folderMemory  = 5 * time.Minute // how long md5 sums and file URLs are used without asking again
	listingTries  = 3
	listingChange = 500 * time.Millisecond // pause when a folder changed while it was read
)

// folder is what v1 can name: a recipe, or a package of whatever recipe is the current one.
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

// content is what a folder held when its manifest was read.
type content struct {
	id       string    // the revision that the manifest makes, or MutableRevision without a usable manifest
	time     time.Time // first line of the manifest, else when it was first seen
	manifest []byte    // nil if there is none or it is large
	md5      string    // of the manifest's bytes; empty if there is none
	direct   string    // md5 of folder.direct by the manifest
	readAt   time.Time
	files    conan.Snapshot // nil until listed
	listed   conan.Snapshot // what was listed to check the manifest, for the first that wants the files; else nil
}

// hints are the URLs of the files of a folder; they may be signed and die early.
type hints struct {
	urls    map[string]*url.URL
	askedAt time.Time
}

// folders is what is remembered of a v1 server: bounded, and never trusted longer than folderMemory.
type folders struct {
	contents *lru.Cache[folder, content]
	hints    *lru.Cache[folder, hints]
	asking   shared[hints]
}

func newFolders() (*folders, error) {
	contents, err := lru.New[folder, content](knownFolders)
	if err != nil {
		return nil, err
	}
	h, err := lru.New[folder, hints](knownFolders)
	if err != nil {
		return nil, err
	}
	return &folders{contents: contents, hints: h}, nil
}

// forget drops what is known of a folder.
func (s *folders) forget(f folder) {
	s.contents.Remove(f)
	s.hints.Remove(f)
}

// remembered is the content of a folder if it was rev's not longer than age ago. Mutable content is not remembered.
func (v v1) remembered(rev conan.Revision, age time.Duration) (content, bool) {
	c, ok := v.known.contents.Get(folderOf(rev))
	ok = ok && c.id == rev.ID() && c.id != conan.MutableRevision && v.now().Sub(c.readAt) < age
	return c, ok
}

// read asks for the manifest of a folder and computes its revision.
func (v v1) read(ctx context.Context, f folder) (content, error) {
	var digest map[string]json.RawMessage
	if err := v.object(ctx, f.path()+"/digest", nil, &digest); err != nil {
		return content{}, err
	}
	if len(digest) == 0 {
		return content{}, errNotThere
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
	old, known := v.known.contents.Get(f)
	known = known && old.id == c.id
	if c.time.IsZero() {
		c.time = c.readAt.UTC().Truncate(time.Microsecond)
		if known {
			c.time = old.time
		}
	}
	if known && old.md5 == c.md5 && c.id != conan.MutableRevision {
		c.files = old.files
	} else {
		v.known.hints.Remove(f)
		if err := v.believe(ctx, f, &c); err != nil {
			return content{}, err
		}
	}
	v.known.contents.Add(f, c)
	return c, nil
}

// believe compares a manifest that is new with the md5 that the server lists of it, where it lists one. A manifest that
// was damaged on the way would otherwise be a revision of its own, which nobody has.
func (v v1) believe(ctx context.Context, f folder, c *content) error {
	if c.id == conan.MutableRevision {
		return nil
	}
	list, err := v.listing(ctx, f)
	if isNotFound(err) {
		return nil // it went this very moment, or is not listed: whoever asks for the files will be told
	}
	if err != nil {
		return err
	}
	if manifest, ok := list.Find(conan.ManifestFile); ok && manifest.MD5 != "" && manifest.MD5 != c.md5 {
		return nonsense("sends a manifest that does not have the md5 that it lists")
	}
	c.listed = list
	return nil
}

func (v v1) fetchManifest(ctx context.Context, raw json.RawMessage) ([]byte, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil, nonsense("answered with a file URL that is not a text")
	}
	u, err := v.complete(text)
	if err != nil {
		return nil, err
	}
	manifest, err := v.document(ctx, u, documentLimits{want: expectFile, name: conan.ManifestFile, most: conan.MaxManifestSize})
	if isNotFound(err) {
		return nil, nonsense("names a manifest that it does not serve")
	}
	return manifest, err
}

// contentOf computes the revision of a folder from its manifest. One that cannot be read is of the mutable revision.
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

// list is the content of a pinned revision with its files, read so that all of it is of that
// revision. A revision that is no longer the current one is not there.
func (v v1) list(ctx context.Context, rev conan.Revision) (content, error) {
	if err := v.checkRecipe(ctx, rev); err != nil {
		return content{}, err
	}
	c, known := v.remembered(rev, folderMemory)
	for range listingTries {
		var err error
		if !known {
			if c, err = v.read(ctx, folderOf(rev)); err != nil {
				return content{}, err
			}
		}
		if c.id != rev.ID() {
			return content{}, errNotThere
		}
		files, whole, err := v.files(ctx, rev, c)
		if err != nil {
			return content{}, err
		}
		c.listed = nil
		if whole {
			c.files = files
			v.known.contents.Add(folderOf(rev), c)
			return c, nil
		}
		if !known { // it changes right now; a remembered content was only old
			if err := sleep(ctx, v.jitter(listingChange)); err != nil {
				return content{}, err
			}
		}
		known = false
	}
	return content{}, nonsense("changes its files while they are listed")
}

// files lists a folder. whole tells that the list belongs to c: the list names the md5 of c's manifest and
// of the file beside the archives, or, where a server tells no md5, the manifest is the same afterwards.
func (v v1) files(ctx context.Context, rev conan.Revision, c content) (list conan.Snapshot, whole bool, err error) {
	f := folderOf(rev)
	if list = c.listed; list == nil {
		if list, err = v.listing(ctx, f); err != nil {
			return nil, false, err
		}
	}
	if c.id == conan.MutableRevision {
		return list, len(list) > 0, nil
	}
	manifest, ok := list.Find(conan.ManifestFile)
	direct, _ := list.Find(f.direct())
	if !ok || direct.MD5 != "" && c.direct != "" && direct.MD5 != c.direct {
		return nil, false, nil
	}
	if manifest.MD5 != "" {
		return list, manifest.MD5 == c.md5, nil
	}
	again, err := v.read(ctx, f)
	return list, again.id == c.id, err
}

// listing is what a server lists of a folder now, with md5 sums where it has them.
func (v v1) listing(ctx context.Context, f folder) (conan.Snapshot, error) {
	var sums map[string]json.RawMessage
	err := v.object(ctx, f.path(), nil, &sums)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if len(sums) == 0 { // some servers have no such route for recipes
		if sums, err = v.names(ctx, f); err != nil {
			return nil, err
		}
	}
	list := conan.Snapshot{}
	dropped := 0
	for name, raw := range sums {
		if conan.CheckFileName(name, f.pid != "") != nil {
			dropped++
			continue
		}
		var sum string
		json.Unmarshal(raw, &sum)
		list = append(list, conan.FileInfo{Name: name, Size: -1, MD5: hexDigest(sum, 32)})
	}
	v.drop("file names", dropped)
	list.Sort()
	return list, nil
}

// names are the names of the files that a folder hands out, without md5 sums.
func (v v1) names(ctx context.Context, f folder) (map[string]json.RawMessage, error) {
	h, err := v.askHints(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(h.urls) == 0 {
		return nil, errNotThere
	}
	names := make(map[string]json.RawMessage, len(h.urls))
	for name := range h.urls {
		names[name] = nil
	}
	return names, nil
}

// askHints asks where the files of a folder are, once for all who want to know at a time.
func (v v1) askHints(ctx context.Context, f folder) (hints, error) {
	since := v.now()
	return v.known.asking.do(ctx, f.path(), v.patience(), func(ctx context.Context) (hints, error) {
		if h, ok := v.known.hints.Get(f); ok && h.askedAt.After(since) {
			return h, nil // another call has ended meanwhile
		}
		return v.fetchHints(ctx, f)
	})
}

func (v v1) fetchHints(ctx context.Context, f folder) (hints, error) {
	var answer map[string]json.RawMessage
	if err := v.object(ctx, f.path()+"/download_urls", nil, &answer); err != nil {
		return hints{}, err
	}
	h := hints{urls: make(map[string]*url.URL, len(answer)), askedAt: v.now()}
	for name, raw := range answer {
		var text string
		if conan.CheckFileName(name, f.pid != "") != nil || json.Unmarshal(raw, &text) != nil {
			continue
		}
		u, err := v.complete(text)
		if err != nil {
			return hints{}, err
		}
		h.urls[name] = u
	}
	v.known.hints.Add(f, h)
	return h, nil
}

// checkRecipe tells for a package whether its recipe revision is the current one: v1 shows no packages of others.
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
