package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"conanproxy/internal/conan"
)

// answer is what one member said.
type answer[T any] struct {
	from  *member
	value T
	err   error
	notes []conan.Origin // where its parts came from; not yet told to the request's trace
}

// question is what a member is asked.
type question[T any] func(context.Context, *member) (T, error)

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
	var trace conan.Trace
	a := answer[T]{from: m}
	a.value, a.err = ask(conan.WithTrace(ctx, &trace), m)
	a.notes = trace.Origins()
	return a
}

// tell passes an answer's notes on to the trace of the request.
func (a answer[T]) tell(ctx context.Context) {
	for _, o := range a.notes {
		conan.Note(ctx, o)
	}
}

// settle takes the answers of members in order and returns those that count, in order. It is
// the one rule for every merged answer:
//
//   - A failure before the first member that has something is the answer, since it could have
//     changed it: an earlier member's word goes first.
//   - A failure after it is passed over, and noted, so that the answer is marked as stale and
//     not remembered: what can be told keeps working.
//   - Nothing from anyone is "nothing" only if every member said so.
//
// bare tells a value that has nothing in it; a member that says so knows the thing asked about.
func settle[T any](ctx context.Context, what fmt.Stringer, answers []answer[T], bare func(T) bool) ([]answer[T], error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var full, known []answer[T]
	var errs []error
	for _, a := range answers {
		a.tell(ctx)
		switch {
		case a.err == nil && !bare(a.value):
			full = append(full, a)
		case a.err == nil:
			known = append(known, a)
		case absent(a.err):
			errs = append(errs, a.err)
		case len(full) == 0:
			return nil, fmt.Errorf("%s: %w", what, a.err)
		default:
			noteFailure(ctx, full[0].from, a.from, a.err)
		}
	}
	if len(full) > 0 {
		return full, nil
	}
	if len(known) > 0 {
		return known, nil
	}
	return nil, nowhere(what, errs)
}

// noteFailure marks the answer of the member by as one that the member failed could have changed.
func noteFailure(ctx context.Context, by, failed *member, err error) {
	reason := fmt.Sprintf("%q failed", failed.name)
	var unavailable *conan.UnavailableError
	if errors.As(err, &unavailable) {
		reason = unavailable.Error()
	}
	conan.Note(ctx, conan.Origin{Member: by.name, State: conan.StateStale, Reason: reason})
}

// mergeRevisions unites lists of revisions: newest first, each id once with its earliest known
// time, since a copy made today is no newer than its original. Of equal times the earlier
// list's comes first, then the earlier in its list.
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
			merged[i].Time = earliest(merged[i].Time, r.Time)
		}
	}
	slices.SortStableFunc(merged, func(a, b conan.RevisionTime) int { return b.Time.Compare(a.Time) })
	return merged
}

// earliest ignores times that are not known.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
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
	slices.SortFunc(merged, func(a, b conan.Package) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return merged
}

// mergeRefs unites lists of references, sorted by their text, each once.
func mergeRefs(lists [][]conan.Ref) []conan.Ref {
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
	slices.SortFunc(entries, func(a, b entry) int {
		if a.text < b.text {
			return -1
		}
		return 1
	})
	merged := make([]conan.Ref, len(entries))
	for i, e := range entries {
		merged[i] = e.ref
	}
	return merged
}

func values[T any](answers []answer[T]) []T {
	list := make([]T, len(answers))
	for i, a := range answers {
		list[i] = a.value
	}
	return list
}
