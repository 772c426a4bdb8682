package conanserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"time"

	"conanproxy/internal/conan"
)

// revisionsFile is the list that the server keeps beside the folders of revisions.
const revisionsFile = "revisions.txt"

// readList reads the list of a folder, newest first. Of a revision that is there twice, as those
// are that were uploaded again, the newest counts. Before there were revisions there was no list:
// the revision "0" has the time of its folder then.
func (f *Folder) readList(folder string) ([]conan.RevisionTime, error) {
	text, err := f.root.ReadFile(path.Join(folder, revisionsFile))
	if errors.Is(err, fs.ErrNotExist) {
		info, err := f.root.Stat(path.Join(folder, conan.MutableRevision))
		if err != nil {
			return nil, err
		}
		return []conan.RevisionTime{{ID: conan.MutableRevision, Time: info.ModTime().UTC().Truncate(time.Microsecond)}}, nil
	}
	if err != nil {
		return nil, err
	}
	var said struct {
		Revisions []struct {
			Revision string          `json:"revision"`
			Time     json.RawMessage `json:"time"`
		} `json:"revisions"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("%w: %s in %s: %w", conan.ErrInvalid, revisionsFile, folder, err)
	}
	var list []conan.RevisionTime
	for _, r := range slices.Backward(said.Revisions) {
		at, err := parseTime(r.Time)
		if err != nil || !conan.ValidRevisionID(r.Revision) {
			return nil, fmt.Errorf("%w: %s in %s: the revision %.80q has a strange time or name", conan.ErrInvalid, revisionsFile, folder, r.Revision)
		}
		if !slices.ContainsFunc(list, func(other conan.RevisionTime) bool { return other.ID == r.Revision }) {
			list = append(list, conan.RevisionTime{ID: r.Revision, Time: at})
		}
	}
	return list, nil
}

// parseTime reads a time: ISO 8601 in UTC, which 1.x writes, or Unix seconds with a fraction, which
// 2.x and very old versions write.
func parseTime(raw json.RawMessage) (time.Time, error) {
	var seconds float64
	if json.Unmarshal(raw, &seconds) == nil {
		whole, fraction := math.Modf(seconds)
		micros := int64(math.RoundToEven(fraction * 1e6)) // as the server does when it answers
		return time.UnixMicro(int64(whole)*1e6 + micros).UTC(), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse("2006-01-02T15:04:05", text)
	}
	return at.UTC().Truncate(time.Microsecond), err
}
