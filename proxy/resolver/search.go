package resolver

import (
	"context"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// searchTimeout bounds upstreams if a store has matches of its own: longer than for other
// questions, since a version range is resolved by what is found.
const searchTimeout = 10 * time.Second

// Search unites what all members find and the caller may read there. A search that asks only for
// what a store owns is sent to no upstream, and one that can find nothing readable in a member not
// to that one.
//
// An upstream that fails is passed over, and the answer is marked as stale, if a member before it
// found something; else its failure is the answer: "no such version" would be a lie.
func (v *generationReader) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	asked := respondents{own: true, origin: forever}
	for _, m := range v.serving {
		if v.mayFind(m, p) && (m.isStore() || !v.owns.MatchSearch(p)) {
			asked.members = append(asked.members, m)
		}
	}
	ask := func(ctx context.Context, m *member) (conan.Answer[[]conan.Ref], error) {
		found, err := m.Search(ctx, p)
		if err == nil {
			found.Value = v.shown(m, found.Value)
		}
		return found, err
	}
	inTime := func(ask question[[]conan.Ref]) question[[]conan.Ref] { return within(searchTimeout, ask) }
	answers, origin, err := askAll(ctx, searchText(p), asked, inTime, ask, isEmpty[conan.Ref])
	if err != nil && conan.IsAbsent(err) {
		// The rules keep every member from being asked: nothing is to be found.
		return conan.Answer[[]conan.Ref]{Value: []conan.Ref{}, Origin: origin}, nil
	}
	if err != nil {
		return conan.Answer[[]conan.Ref]{}, err
	}
	return conan.Answer[[]conan.Ref]{Value: mergeRefs(values(answers)), Origin: origin}, nil
}

// searchText names a search in errors.
type searchText conan.Pattern

func (p searchText) String() string {
	const most = 80
	text := conan.Pattern(p).String()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Sprintf("search for %q", text)
}
