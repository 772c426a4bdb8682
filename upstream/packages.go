package upstream

import (
	"encoding/json"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// binaries is the answer of package search in both dialects: the description of each package id.
type binaries map[string]json.RawMessage

// list reads the answer, sorted by package id, and counts ids that are invalid.
func (b binaries) list(idsOnly bool) (packages []conan.Package, dropped int) {
	packages = make([]conan.Package, 0, len(b))
	for id, value := range b {
		if !conan.ValidRevisionID(id) {
			dropped++
			continue
		}
		p := conan.Package{ID: id}
		if !idsOnly {
			p.Info = infoText(value)
		}
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	return packages, dropped
}

// infoText is the conaninfo.txt of one value: as it was sent, or written anew from the parsed
// form of servers that do not send the text.
func infoText(value json.RawMessage) string {
	var raw struct {
		Content *string `json:"content"`
	}
	if json.Unmarshal(value, &raw) == nil && raw.Content != nil {
		return *raw.Content
	}
	var parsed map[string]any
	if json.Unmarshal(value, &parsed) != nil || len(parsed) == 0 {
		return ""
	}
	var text strings.Builder
	for _, section := range []string{"settings", "requires", "options", "full_settings", "full_requires", "full_options", "recipe_hash", "env"} {
		lines := infoLines(parsed[section], section == "requires" || section == "full_requires")
		if len(lines) > 0 {
			text.WriteString("[" + section + "]\n    " + strings.Join(lines, "\n    ") + "\n\n")
		}
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// infoLines are the lines of a section: key=value of a map, the keys alone of a map of
// requirements, the items of a list, or one string. Values that do not fit on a line are left out.
func infoLines(section any, keysOnly bool) []string {
	var lines []string
	add := func(line string) {
		if line != "" && !strings.ContainsAny(line, "\r\n") {
			lines = append(lines, line)
		}
	}
	switch section := section.(type) {
	case string:
		add(section)
	case []any:
		for _, item := range section {
			add(scalar(item))
		}
	case map[string]any:
		for key, value := range section {
			if keysOnly {
				add(key)
			} else {
				add(key + "=" + scalar(value))
			}
		}
		slices.Sort(lines)
	}
	return lines
}

// scalar is the text of a JSON value as Conan writes it.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case nil:
		return "None"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}
