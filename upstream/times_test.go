package upstream

import (
	"encoding/json"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	tests := map[string]struct {
		raw  string
		want string // RFC 3339, empty = not ok
	}{
		"conan_server 2":      {`"2026-01-02T03:04:05.678901+00:00"`, "2026-01-02T03:04:05.678901Z"},
		"conan_server 1":      {`"2026-01-02T03:04:05Z"`, "2026-01-02T03:04:05Z"},
		"Artifactory":         {`"2026-01-02T03:04:05.678+0000"`, "2026-01-02T03:04:05.678Z"},
		"offset":              {`"2026-01-02T03:04:05.678901+02:00"`, "2026-01-02T01:04:05.678901Z"},
		"offset without dots": {`"2026-01-02T03:04:05-0530"`, "2026-01-02T08:34:05Z"},
		"offset of hours":     {`"2026-01-02T03:04:05+02"`, "2026-01-02T01:04:05Z"},
		"nanoseconds":         {`"2026-01-02T03:04:05.123456789Z"`, "2026-01-02T03:04:05.123456Z"},
		"long fraction":       {`"2026-01-02T03:04:05.1234567890123Z"`, "2026-01-02T03:04:05.123456Z"},
		"one digit":           {`"2026-01-02T03:04:05.1Z"`, "2026-01-02T03:04:05.1Z"},
		"comma":               {`"2026-01-02T03:04:05,25Z"`, "2026-01-02T03:04:05.25Z"},
		"space":               {`"2026-01-02 03:04:05.5+00:00"`, "2026-01-02T03:04:05.5Z"},
		"no zone":             {`"2026-01-02T03:04:05"`, "2026-01-02T03:04:05Z"},
		"no zone, fraction":   {`"2026-01-02T03:04:05.5"`, "2026-01-02T03:04:05.5Z"},
		"minutes":             {`"2026-01-02T03:04Z"`, "2026-01-02T03:04:00Z"},
		"basic":               {`"20260102T030405Z"`, "2026-01-02T03:04:05Z"},
		"seconds":             {`1767323045`, "2026-01-02T03:04:05Z"},
		"milliseconds":        {`1767323045678`, "2026-01-02T03:04:05.678Z"},
		"epoch":               {`"1970-01-01T00:00:00Z"`, ""},
		"epoch as number":     {`0`, ""},
		"zero":                {`"0001-01-01T00:00:00Z"`, ""},
		"year 9999":           {`"9999-12-31T23:59:59-12:00"`, ""},
		"RFC 1123":            {`"Fri, 02 Jan 2026 03:04:05 GMT"`, ""},
		"empty":               {`""`, ""},
		"null":                {`null`, ""},
		"missing":             {``, ""},
		"object":              {`{}`, ""},
		"huge":                {`1e300`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := parseTime(json.RawMessage(test.raw))
			text := ""
			if ok {
				text = got.Format(time.RFC3339Nano)
			}
			if text != test.want {
				t.Errorf("got %q, want %q", text, test.want)
			}
			if ok && got.Location() != time.UTC {
				t.Errorf("zone is %v", got.Location())
			}
		})
	}
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{`"2026-01-02T03:04:05.678901+00:00"`, `"2026-01-02 03:04:05,5-0530"`, `1767323045678`, `null`, `"x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := parseTime(json.RawMessage(raw))
		if !ok {
			return
		}
		if !usable(got) || got.Nanosecond()%1000 != 0 {
			t.Errorf("%q became %v", raw, got)
		}
		again, ok := parseTime(json.RawMessage(`"` + got.Format("2006-01-02T15:04:05.999999Z07:00") + `"`))
		if !ok || !again.Equal(got) {
			t.Errorf("%q became %v, then %v", raw, got, again)
		}
	})
}
