// Package transfer copies what a selection names from a Source to a sink.
package transfer

import (
	"context"
	"fmt"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
)

// Sink takes revisions. localstore.Promotion and localstore.Import are sinks.
type Sink interface {
	// Take copies pinned revisions; a dry run only tells what would be done.
	Take(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Moved, error)
}

// Options say how Copy works.
type Options struct {
	By  conan.Actor
	Dry bool // only tells what would be done

	// Allowed refuses a revision that the caller may not bring to the sink, with an error; nil
	// allows all. It is asked about every revision before anything is done.
	Allowed func(conan.Ref) error
}

// Copy copies what a selection names in a source. A selection that names something the source does
// not have, or nothing at all, is conan.ErrInvalid, and nothing is done.
func Copy(ctx context.Context, source conan.Source, sel selection.Selection, sink Sink, o Options) ([]conan.Moved, error) {
	revs, err := Resolve(ctx, source, sel, selection.AsUpload, o.Allowed)
	if err != nil {
		return nil, err
	}
	return sink.Take(ctx, revs, o.By, o.Dry)
}

// Resolve lists the revisions that a selection names, sorted, a recipe before its packages. It is
// conan.ErrInvalid if one of its parts is not there or it is empty, and the error of allowed, which
// may be nil, if that refuses one.
func Resolve(ctx context.Context, source conan.Source, sel selection.Selection, purpose selection.Purpose, allowed func(conan.Ref) error) ([]conan.Revision, error) {
	result, err := selection.Resolve(ctx, source, sel, purpose)
	if err != nil {
		return nil, err
	}
	if len(result.Missing) > 0 {
		return nil, fmt.Errorf("%w: %s", conan.ErrInvalid, missing(result.Missing))
	}
	if len(result.Revisions) == 0 {
		return nil, fmt.Errorf("%w: the selection matches nothing", conan.ErrInvalid)
	}
	revs := make([]conan.Revision, len(result.Revisions))
	for i, found := range result.Revisions {
		revs[i] = found.Revision
		if allowed == nil || i > 0 && revs[i].Ref == revs[i-1].Ref {
			continue
		}
		if err := allowed(found.Ref); err != nil {
			return nil, err
		}
	}
	return revs, nil
}

// missing names the first parts that are not there.
func missing(list []selection.Missing) string {
	const most = 5
	var texts []string
	for i, m := range list {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		texts = append(texts, m.String())
	}
	return strings.Join(texts, "; ")
}
