package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"conanproxy/internal/conan"
)

// answer is what one member said.
type answer[T any] struct {
	from *member
	conan.Answer[T]
	err error
}

// question is what a member is asked.
type question[T any] func(context.Context, *member) (conan.Answer[T], error)

// gather asks all members at once and returns their answers in the members' order.
func gather[T any](ctx context.Context, members []*member, ask question[T]) []answer[T] {
	answers := make([]answer[T], len(members))
	var all sync.WaitGroup
	for i, m := range members {
		one := func() { answers[i] = askOne(ctx, m, ask) }
		if i == len(members)-1 {
			one() // on this goroutine; mostly there is just one member
			continue
		}
		all.Go(one)
	}
	all.Wait()
	return answers
}

func askOne[T any](ctx context.Context, m *member, ask question[T]) answer[T] {
	a := answer[T]{from: m}
	a.Answer, a.err = ask(ctx, m)
	if errors.Is(a.err, conan.ErrNotFetched) {
		a.Origin.Expires = conan.Forever // as long as the rules stay
	}
	return a
}

// choose takes the answers of members in order and returns those that count, in order. It is the
// one rule for every merged answer:
//
//   - A failure before the first member that has something is the answer, since it could have
//     changed it: an earlier member goes first.
//   - A failure after it is passed over, and the answer is marked as stale, so that it is not
//     remembered: what is known keeps working.
//   - Nothing from any member is "nothing" only if every member said so.
//
// isEmpty tells a value that has nothing in it; a member that says so knows the thing asked about.
// The origin has the expiry of every answer, and of a failure that was passed over the reason; with
// an error too it tells how long that may be remembered.
func choose[T any](ctx context.Context, what fmt.Stringer, answers []answer[T], isEmpty func(T) bool) ([]answer[T], conan.Origin, error) {
	if err := ctx.Err(); err != nil {
		return nil, conan.Origin{}, fmt.Errorf("%s: %w", what, err)
	}
	var full, empty []answer[T]
	var errs []error
	var origins []conan.Origin
	for _, a := range answers {
		switch {
		case a.err == nil && !isEmpty(a.Value):
			full = append(full, a)
			origins = append(origins, a.Origin)
		case a.err == nil:
			empty = append(empty, a)
			origins = append(origins, a.Origin)
		case conan.IsAbsent(a.err):
			errs = append(errs, a.err)
			origins = append(origins, a.Origin)
		case len(full) == 0:
			return nil, conan.Origin{}, fmt.Errorf("%s: %w", what, a.err)
		default:
			origins = append(origins, withoutMember(full[0].from, a.from, a.err))
		}
	}
	switch {
	case len(full) > 0:
		return full, conan.MergeOrigins(origins...), nil
	case len(empty) > 0:
		return empty, conan.MergeOrigins(origins...), nil
	}
	return nil, conan.MergeOrigins(origins...), notAnywhere(what, errs)
}

// withoutMember is the origin of the answer of the member by that the member failed could have
// changed.
func withoutMember(by, failed *member, err error) conan.Origin {
	reason := fmt.Sprintf("%q failed", failed.Name)
	var unavailable *conan.UnavailableError
	if errors.As(err, &unavailable) {
		reason = unavailable.Error()
	}
	return conan.Origin{Member: by.Name, State: conan.StateStale, Reason: reason}
}

// expiring is the origin o of an answer that others could have changed: it is remembered no longer
// than they are.
func expiring(o conan.Origin, others ...conan.Origin) conan.Origin {
	for _, other := range others {
		if other.Expires.Before(o.Expires) {
			o.Expires = other.Expires
		}
	}
	return o
}

// mergeRevisions unites lists of revisions: newest first, each id once with its earliest known
// time, since a copy made today is no newer than its original, and hidden ones, which are hidden in
// every list that has them, last. Of equal times the earlier list's comes first, then the earlier
// in its list.
func mergeRevisions(lists [][]conan.RevisionTime) []conan.RevisionTime {
	if len(lists) == 1 {
		return lists[0]
	}
	var merged []conan.RevisionTime
	at := make(map[string]int)
	for _, list := range lists {
		for _, r := range list {
			i, known := at[r.ID]
			if !known {
				at[r.ID] = len(merged)
				merged = append(merged, r)
				continue
			}
			merged[i].Time = conan.Earlier(merged[i].Time, r.Time)
			if !r.Hidden {
				merged[i].Hidden, merged[i].Why = false, nil
			}
		}
	}
	slices.SortStableFunc(merged, func(a, b conan.RevisionTime) int {
		switch {
		case a.Hidden == b.Hidden:
			return b.Time.Compare(a.Time)
		case a.Hidden:
			return 1
		}
		return -1
	})
	return merged
}

// mergePackages unites lists of packages, sorted by id; of one id the earliest list's counts,
// unless only a later one has its conaninfo.
func mergePackages(lists [][]conan.Package) []conan.Package {
	if len(lists) == 1 {
		return lists[0]
	}
	merged := []conan.Package{}
	at := make(map[string]int)
	for _, list := range lists {
		for _, p := range list {
			i, known := at[p.ID]
			switch {
			case !known:
				at[p.ID] = len(merged)
				merged = append(merged, p)
			case merged[i].Info == "":
				merged[i] = p
			}
		}
	}
	slices.SortFunc(merged, func(a, b conan.Package) int { return strings.Compare(a.ID, b.ID) })
	return merged
}

// mergeRefs unites lists of references, sorted by their text, each once.
func mergeRefs(lists [][]conan.Ref) []conan.Ref {
	if len(lists) == 1 {
		return lists[0]
	}
	type entry struct {
		text string
		ref  conan.Ref
	}
	var entries []entry
	seen := make(map[conan.Ref]bool)
	for _, list := range lists {
		for _, ref := range list {
			if !seen[ref] {
				seen[ref] = true
				entries = append(entries, entry{ref.String(), ref})
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.text, b.text) })
	merged := make([]conan.Ref, len(entries))
	for i, e := range entries {
		merged[i] = e.ref
	}
	return merged
}

func values[T any](answers []answer[T]) []T {
	list := make([]T, len(answers))
	for i, a := range answers {
		list[i] = a.Value
	}
	return list
}
