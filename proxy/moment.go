package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// moments are views as they were, which are made when they are asked for.
type moments struct {
	at    func(*View, time.Time) (Readers, error) // nil: there are none
	views *lru.Cache[string, *View]               // by name
}

// maxMoments bounds moments.views.
const maxMoments = 64

func newMoments(at func(*View, time.Time) (Readers, error)) moments {
	views, _ := lru.New[string, *View](maxMoments) // fails only without a size
	return moments{at, views}
}

// momentMount cuts "/at/{time}" off what follows a mount at /r/{name}.
func momentMount(m mountPoint, rest string) (mountPoint, string) {
	first, afterTime, ok := cutSegments(rest, 2)
	if moment, isMoment := strings.CutPrefix(first, "/at/"); ok && isMoment && strings.HasPrefix(m.prefix, "/r/") {
		m.prefix, m.moment, rest = m.prefix+first, moment, afterTime
	}
	return m, rest
}

// viewAt is a view as it was at the time that a path names. It only reads. Its name has the time,
// so that nothing that is kept or signed for one moment holds for another.
func (m moments) viewAt(v *View, text string, now time.Time) (*View, error) {
	at, err := parseMoment(text, now)
	if err != nil {
		return nil, err
	}
	name := v.Name + "@" + at.Format(time.RFC3339Nano)
	if past, ok := m.views.Get(name); ok {
		return past, nil
	}
	readers, err := m.at(v, at)
	if err != nil {
		return nil, fmt.Errorf("view %q: %w", name, err)
	}
	past := &View{Name: name, Resolver: readers, Members: v.Members, Upstreams: v.Upstreams, today: v}
	m.views.Add(name, past)
	return past, nil
}

// parseMoment reads a time, or a date, which is the last microsecond of that day in UTC.
func parseMoment(text string, now time.Time) (time.Time, error) {
	at, err := time.Parse(time.DateOnly, text)
	if err == nil {
		at = at.AddDate(0, 0, 1).Add(-time.Microsecond)
	} else if at, err = time.Parse(time.RFC3339, text); err != nil || !strings.HasSuffix(text, "Z") {
		return at, refuse(http.StatusBadRequest,
			"%q is no time: after /at/ comes a date like 2026-03-31, or a time in UTC like 2026-03-31T18:00:00Z", clip(text))
	}
	if at.After(now) {
		return at, refuse(http.StatusBadRequest, "%s, the time that the URL names, is in the future; a date means the end of that day in UTC",
			at.Format(time.RFC3339))
	}
	return at.Truncate(time.Microsecond), nil
}
