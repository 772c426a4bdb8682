package conan

import (
	"sort"
	"strings"
)

// Info is what package search tells of a conaninfo.txt. No map or list is nil.
type Info struct {
	Settings     map[string]string // "os" → "Linux", "compiler.version" → "13"
	Options      map[string]string // the package's own; those of its dependencies are left out
	Requires     []string          // as they stand, in order: "zlib/1.3.Z"
	FullRequires []string          // Conan 1 only: "zlib/1.3.1:package_id", sorted, without revisions
	RecipeHash   string            // Conan 1 only; the text that tells its binaries from those of Conan 2
}

// ParseInfo reads a conaninfo.txt of either generation. It never fails: what it does not
// understand (unknown sections, comments, lines without "=", junk) is left out. An empty
// text is a package without settings and options.
func ParseInfo(text string) Info {
	info := Info{
		Settings:     make(map[string]string),
		Options:      make(map[string]string),
		Requires:     []string{},
		FullRequires: []string{},
	}
	section := ""
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '\n' || c == '\r' }) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section, _, _ = strings.Cut(line[1:], "]")
		default:
			info.add(section, line)
		}
	}
	sort.Strings(info.FullRequires)
	return info
}

// IsConan1Info tells whether Conan 1 wrote a conaninfo.txt. It has more there than the package id
// is made of, while that of Conan 2 is the sha1 of the file.
func IsConan1Info(text string) bool {
	for line := range strings.Lines(text) {
		switch strings.TrimSpace(line) {
		case "[recipe_hash]", "[full_settings]":
			return true
		}
	}
	return false
}

func (info *Info) add(section, line string) {
	key, value, isPair := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch section {
	case "settings":
		if isPair && key != "" {
			info.Settings[key] = value
		}
	case "options":
		if isPair && key != "" && !strings.Contains(key, ":") {
			info.Options[key] = value
		}
	case "requires":
		info.Requires = append(info.Requires, line)
	case "full_requires":
		info.FullRequires = append(info.FullRequires, withoutRevisions(line))
	case "recipe_hash":
		if info.RecipeHash == "" {
			info.RecipeHash = line
		}
	}
}

// withoutRevisions turns ref#rrev:package_id#prev into ref:package_id.
func withoutRevisions(pref string) string {
	ref, id, hasID := strings.Cut(pref, ":")
	ref, _, _ = strings.Cut(ref, "#")
	if !hasID {
		return ref
	}
	id, _, _ = strings.Cut(id, "#")
	return ref + ":" + id
}
