package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
)

// search asks for references, the same way in both dialects.
func (r *Remote) search(ctx context.Context, path string, p conan.Pattern) ([]conan.Ref, error) {
	query := url.Values{"q": {cmp.Or(p.String(), "*")}} // some servers refuse a search without q
	if p.String() != "" && !p.IgnoreCase() {
		query.Set("ignorecase", "False")
	}
	var answer struct {
		Results *[]json.RawMessage `json:"results"`
	}
	err := r.object(ctx, path, query, &answer)
	if err != nil {
		return nil, err
	}
	if answer.Results == nil {
		return nil, badAnswer("answered a search without results")
	}
	refs, dropped := parseResults(*answer.Results)
	r.countDropped("references", dropped)
	return slices.DeleteFunc(refs, func(ref conan.Ref) bool { return !matches(p, ref) }), nil
}

// matches leaves out references that a server finds by other rules than conan_server's, since
// clients trust the result. A pattern that names a revision cannot be matched here.
func matches(p conan.Pattern, ref conan.Ref) bool {
	return strings.Contains(p.String(), "#") || p.Match(ref)
}

// parseResults reads references as servers write them: name/version, with @_/_ or with a
// revision. It sorts them, leaves out doubles, and counts the rest.
func parseResults(results []json.RawMessage) (refs []conan.Ref, dropped int) {
	refs = make([]conan.Ref, 0, len(results))
	for _, raw := range results {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			dropped++
			continue
		}
		text, _, _ = strings.Cut(strings.TrimSpace(text), "#")
		ref, err := conan.ParseRef(text)
		if err != nil {
			dropped++
			continue
		}
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b conan.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs), dropped
}

// countDropped notes names that were left out because they are invalid.
func (r *Remote) countDropped(names string, n int) {
	if n == 0 {
		return
	}
	r.metrics.droppedNames(r.name, n)
	r.log.Warn("left out invalid names of an upstream", zap.String("names", names), zap.Int("count", n))
}
