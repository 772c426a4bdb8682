package conantest

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// Set is the files of one pinned revision and the time of its publication.
type Set struct {
	conan.Revision
	Files map[string][]byte
	Time  time.Time
}

// Names lists the files, sorted.
func (s Set) Names() []string { return slices.Sorted(maps.Keys(s.Files)) }

// Snapshot lists the files with their sizes and all digests.
func (s Set) Snapshot() conan.Snapshot {
	list := make(conan.Snapshot, 0, len(s.Files))
	for _, name := range s.Names() {
		b := s.Files[name]
		sha := sha256.Sum256(b)
		list = append(list, conan.FileInfo{Name: name, Size: int64(len(b)), MD5: md5Of(b), SHA1: sha1Of(b), SHA256: hex.EncodeToString(sha[:])})
	}
	return list
}

// Manifest parses the set's manifest; it panics if there is none.
func (s Set) Manifest() *conan.Manifest {
	m, err := conan.ParseManifest(s.Files[conan.ManifestFile])
	if err != nil {
		panic(err)
	}
	return m
}

// With is a copy with one file added or replaced; the ids and the manifest stay as they were.
func (s Set) With(name, content string) Set {
	s.Files = maps.Clone(s.Files)
	s.Files[name] = []byte(content)
	return s
}

// Without is a copy that lacks some files, as after a broken upload.
func (s Set) Without(names ...string) Set {
	s.Files = maps.Clone(s.Files)
	for _, name := range names {
		delete(s.Files, name)
	}
	return s
}

// As is a copy under another revision id (RREV of a recipe, PREV of a package): "0", or a commit
// id.
func (s Set) As(id string) Set {
	s.Revision = s.Revision.With(id)
	return s
}

// DefaultTime is when a set without Published was published.
var DefaultTime = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

// Option shapes a Set.
type Option func(*spec)

// spec is what the options of a set say.
type spec struct {
	user, channel string
	published     time.Time
	code          string
	conan1        bool
	headerOnly    bool
	ending        string
	files         []entry // conan_export or conan_package
	sources       []entry
	metadata      map[string]string
	settings      []pair
	options       []pair
	requires      []string
}

type pair struct{ name, value string }

// Owner gives a recipe its user and channel; an empty channel is for Conan 2 only.
func Owner(user, channel string) Option {
	return func(s *spec) { s.user, s.channel = user, channel }
}

// Published is the time that the server tells; the manifest has it too, in seconds.
func Published(t time.Time) Option { return func(s *spec) { s.published = t } }

// Code is appended to conanfile.py; another code makes another recipe revision.
func Code(text string) Option { return func(s *spec) { s.code = text } }

// File adds a file to conan_export of a recipe or to conan_package of a package.
func File(path, content string) Option {
	return func(s *spec) { s.files = append(s.files, entry{path: path, content: []byte(content)}) }
}

// Source adds a file to conan_sources of a recipe.
func Source(path, content string) Option {
	return func(s *spec) { s.sources = append(s.sources, entry{path: path, content: []byte(content)}) }
}

// Random is a File of that size whose content does not shrink when packed and depends on the path
// only.
func Random(path string, size int) Option {
	return func(s *spec) { s.files = append(s.files, entry{path: path, content: noise(path, size)}) }
}

// RandomSource is a Source of that size; see Random.
func RandomSource(path string, size int) Option {
	return func(s *spec) { s.sources = append(s.sources, entry{path: path, content: noise(path, size)}) }
}

// Symlink adds a symlink where File would add a file.
func Symlink(path, target string) Option {
	return func(s *spec) { s.files = append(s.files, entry{path: path, target: target}) }
}

// Metadata adds a file below metadata/.
func Metadata(path, content string) Option {
	return func(s *spec) { s.metadata[conan.MetadataDir+path] = content }
}

// Setting adds a line to [settings] of a package; without any it has os=Linux.
func Setting(name, value string) Option {
	return func(s *spec) { s.settings = append(s.settings, pair{name, value}) }
}

// Choice adds a line to [options] of a package.
func Choice(name, value string) Option {
	return func(s *spec) { s.options = append(s.options, pair{name, value}) }
}

// Requires adds a line to [requires] of a package, such as zlib/1.3.Z.
func Requires(text string) Option {
	return func(s *spec) { s.requires = append(s.requires, text) }
}

// HeaderOnly makes recipe and package independent of settings: conaninfo.txt of Conan 2 is empty
// then.
func HeaderOnly() Option { return func(s *spec) { s.headerOnly = true } }

// Conan1 makes the set as Conan 1 does: its form of conaninfo.txt, its package id, its md5 of
// symlinks.
func Conan1() Option { return func(s *spec) { s.conan1 = true } }

// Compression packs the archives as tgz, txz or tzst.
func Compression(ending string) Option { return func(s *spec) { s.ending = ending } }

func newSpec(opts []Option) *spec {
	s := &spec{published: DefaultTime, ending: "tgz", metadata: make(map[string]string)}
	for _, o := range opts {
		o(s)
	}
	return s
}

// Recipe builds a recipe revision. It panics if name and version are not valid.
func Recipe(name, version string, opts ...Option) Set {
	s := newSpec(opts)
	ref, err := conan.NewRef(name, version, s.user, s.channel)
	if err != nil {
		panic(err)
	}
	settings := "    settings = \"os\"\n"
	if s.headerOnly {
		settings = ""
	}
	set := Set{Revision: conan.Revision{Ref: ref}, Files: make(map[string][]byte), Time: s.published}
	set.Files[conan.RecipeFile] = fmt.Appendf(nil, "from conan import ConanFile\n\n\nclass Recipe(ConanFile):\n    name = %q\n    version = %q\n%s%s",
		name, version, settings, s.code)

	lines := map[string]string{conan.RecipeFile: md5Of(set.Files[conan.RecipeFile])}
	set.addArchive(s, conan.ExportPrefix, "", s.files, lines)
	set.addArchive(s, conan.SourcesPrefix, "export_source/", s.sources, lines)
	set.finish(s, lines)
	set.RRev = set.Manifest().Summary()
	return set
}

// Package builds a binary of a recipe. Without File, Random or Symlink it holds a header and a
// library.
func Package(recipe Set, opts ...Option) Set {
	s := newSpec(opts)
	if len(s.files) == 0 {
		File("include/"+recipe.Name+".h", "#pragma once\n")(s)
		File("lib/lib"+recipe.Name+".a", "!<arch>\n"+recipe.String())(s)
	}
	if len(s.settings) == 0 && !s.headerOnly {
		s.settings = []pair{{"os", "Linux"}}
	}
	set := Set{Revision: recipe.Recipe(), Files: make(map[string][]byte), Time: s.published}
	if s.conan1 {
		set.Files[conan.InfoFile] = []byte(s.info1(recipe.Manifest().Summary()))
		set.PackageID = s.packageID1()
	} else {
		set.Files[conan.InfoFile] = []byte(s.info2())
		set.PackageID = sha1Of(set.Files[conan.InfoFile])
	}
	lines := map[string]string{conan.InfoFile: md5Of(set.Files[conan.InfoFile])}
	set.addArchive(s, conan.PackagePrefix, "", s.files, lines)
	set.finish(s, lines)
	set.PRev = set.Manifest().Summary()
	return set
}

// addArchive packs the entries, if there are any, and notes their lines in the manifest.
func (set *Set) addArchive(s *spec, prefix, folder string, entries []entry, lines map[string]string) {
	if len(entries) == 0 {
		return
	}
	set.Files[prefix+s.ending] = packArchive(s.ending, s.conan1, entries)
	for _, e := range entries {
		if sum := manifestSum(e, entries, s.conan1); sum != "" {
			lines[folder+e.path] = sum
		}
	}
}

// finish writes the manifest and the metadata.
func (set *Set) finish(s *spec, lines map[string]string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", s.published.Unix())
	for _, path := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "%s: %s\n", path, lines[path])
	}
	set.Files[conan.ManifestFile] = []byte(b.String())
	for name, content := range s.metadata {
		set.Files[name] = []byte(content)
	}
}

// info2 is the conaninfo.txt of Conan 2: only the sections that count.
func (s *spec) info2() string {
	var b strings.Builder
	section := func(name string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "[%s]\n%s\n", name, strings.Join(lines, "\n"))
		}
	}
	section("settings", assignments(s.settings))
	section("options", assignments(s.options))
	section("requires", s.requires)
	return b.String()
}

// info1 is the conaninfo.txt of Conan 1.
func (s *spec) info1(recipeHash string) string {
	var b strings.Builder
	section := func(name string, lines []string) {
		fmt.Fprintf(&b, "[%s]\n", name)
		if len(lines) == 0 {
			b.WriteString("\n")
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
		b.WriteString("\n")
	}
	section("settings", assignments(s.settings))
	section("requires", s.requires)
	section("options", assignments(s.options))
	section("full_settings", assignments(s.settings))
	section("full_requires", nil)
	section("full_options", assignments(s.options))
	section("recipe_hash", []string{recipeHash})
	section("env", nil)
	return b.String()
}

// packageID1 is the package id of Conan 1 for a package without dependencies: the sha1 of the
// sha1 sums of settings, options (its own only) and requirements.
func (s *spec) packageID1() string {
	text := func(s string) string { return sha1Of([]byte(s)) }
	settings := text(strings.Join(assignments(s.settings), "\n"))
	options := text(text(strings.Join(assignments(s.options), "\n")))
	return text(settings + "\n" + options + "\n" + text(""))
}

func assignments(pairs []pair) []string {
	var lines []string
	for _, p := range pairs {
		lines = append(lines, p.name+"="+p.value)
	}
	slices.Sort(lines)
	return lines
}

func md5Of(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func sha1Of(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}
