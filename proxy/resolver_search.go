package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// searchPatience bounds upstreams if the local store has matches of its own: longer than for
// other questions, since a version range is resolved by what is found.
const searchPatience = 10 * time.Second

// Search unites what all members find. A member's matches count only for references that it
// may be asked about, and a search that concerns only others is not sent to it.
//
// An upstream that fails is passed over, with a note, if a member before it found something;
// else its failure is the answer: "no such version" would be a lie.
func (v *generationReader) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	asked := respondents{local: v.local, own: true}
	for _, m := range v.serving {
		if !v.isPrivate(m, p) {
			asked.outside = append(asked.outside, m)
		}
	}
	if asked.local == nil && len(asked.outside) == 0 {
		return []conan.Ref{}, nil
	}
	ask := func(ctx context.Context, m *member) ([]conan.Ref, error) {
		found, err := m.Search(ctx, p)
		if err != nil || m == v.local {
			return found, err
		}
		return v.visible(m, p, found), nil
	}
	inTime := func(ask question[[]conan.Ref]) question[[]conan.Ref] { return within(searchPatience, ask) }
	answers, err := askAll(ctx, searchText(p), asked, inTime, ask, isEmpty[conan.Ref])
	if err != nil {
		return nil, err
	}
	return mergeRefs(values(answers)), nil
}

// searchText names a search in errors.
type searchText conan.Pattern

func (p searchText) String() string {
	return fmt.Sprintf("search for %q", clip(conan.Pattern(p).String()))
}

// isPrivate tells whether a search asks only for what the member may not be asked about.
func (v *generationReader) isPrivate(m *member, p conan.Pattern) bool {
	covers := func(g conan.Glob) bool { return g.MatchSearch(p.String()) }
	if slices.ContainsFunc(v.owns, covers) || slices.ContainsFunc(m.exclude, covers) {
		return true
	}
	if len(m.include) == 0 {
		return false
	}
	return !slices.ContainsFunc(m.include, func(g conan.Glob) bool { return mayMeet(g, p) })
}

// mayMeet tells whether some reference could match both; it errs on the side of true.
func mayMeet(g conan.Glob, p conan.Pattern) bool {
	mine, _, _ := strings.Cut(g.String(), "*")
	theirs := p.Prefix()
	if p.IgnoreCase() {
		mine = strings.ToLower(mine)
	}
	return strings.HasPrefix(mine, theirs) || strings.HasPrefix(theirs, mine)
}

// visible drops from a member's matches what is not the member's to answer.
func (v *generationReader) visible(m *member, p conan.Pattern, found []conan.Ref) []conan.Ref {
	kept := make([]conan.Ref, 0, len(found))
	for _, ref := range found {
		if m.admits(ref) && !anyGlob(v.owns, ref) && p.Match(ref) {
			kept = append(kept, ref)
		}
	}
	return kept
}
