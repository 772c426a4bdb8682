package upstream

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// timeLayouts are the forms of ISO 8601 that servers send; Go reads a fraction of any
// length after the seconds, behind a dot or a comma, in each of them.
var timeLayouts = [...]string{
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05", // without a zone: UTC
	"2006-01-02T15:04Z07:00",
	"20060102T150405Z07:00",
	"20060102T150405Z0700",
}

// parseTime reads the time of a revision: a string in a form of ISO 8601, or Unix seconds or
// milliseconds. The instant is unchanged, cut to a microsecond, in UTC. Times of 1970-01-01
// and before, or after the year 9998, are not ok: clients fail on them.
func parseTime(raw json.RawMessage) (t time.Time, ok bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		t, ok = parseTimeText(text)
	} else {
		t, ok = parseTimeNumber(string(raw))
	}
	if !ok || !usable(t) {
		return time.Time{}, false
	}
	return t.UTC().Truncate(time.Microsecond), true
}

func parseTimeText(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if len(s) > 10 && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// milliseconds begin where seconds would be in the year 5138.
const leastMilliseconds = 1e11

func parseTimeNumber(s string) (time.Time, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n > 1e15 {
		return time.Time{}, false
	}
	if n < leastMilliseconds {
		n *= 1000
	}
	return time.UnixMilli(int64(n)), true
}

// usable tells the times that clients accept: after the first day of 1970, before the year 9999.
func usable(t time.Time) bool { return t.Unix() >= 24*60*60 && t.UTC().Year() < 9999 }
