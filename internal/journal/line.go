package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"conanproxy/internal/conan"
)

// version is that of the lines. Raise it if an earlier release would misunderstand the new ones.
const version = 1

// Event says what became of a revision.
type Event string

// The events.
const (
	Published Event = "published" // or changed: the line has all its files
	Removed   Event = "removed"
)

// Line is one change.
type Line struct {
	Version   int       `json:"version"` // set by the package
	Seq       int64     `json:"seq"`     // number of the change; never decreases
	Event     Event     `json:"event"`
	Store     string    `json:"store"` // its name
	Ref       string    `json:"ref"`
	RRev      string    `json:"rrev"`
	PackageID string    `json:"package_id,omitempty"`
	PRev      string    `json:"prev,omitempty"`
	At        time.Time `json:"at,omitzero"`       // of the change; lines of earlier releases have none
	Time      time.Time `json:"time,omitzero"`     // of publication
	Adopted   bool      `json:"adopted,omitempty"` // a copy of an upstream's recipe
	Files     []File    `json:"files,omitempty"`
}

// File is a file of a revision.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	MD5    string `json:"md5"`
	SHA1   string `json:"sha1"`
	SHA256 string `json:"sha256"`
}

// Revision returns what the line is about.
func (l Line) Revision() (conan.Revision, error) {
	ref, err := conan.ParseRef(l.Ref)
	if err != nil {
		return conan.Revision{}, err
	}
	return conan.NewRevision(ref, l.RRev, l.PackageID, l.PRev)
}

// Read reads the journal at path; one that is not there is fs.ErrNotExist. A line of another
// version or with an unknown event is an error and ends it, since what it changed is not known. A
// last line that a crash cut short does not count.
func Read(path string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Line{}, fmt.Errorf("open the journal: %w", err))
			return
		}
		defer f.Close()
		r := bufio.NewReaderSize(f, 256<<10)
		for n := 1; ; n++ {
			text, err := r.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				return
			}
			var line Line
			if err == nil {
				line, err = parse(text)
			}
			if err != nil {
				yield(Line{}, fmt.Errorf("line %d of the journal %s: %w", n, path, err))
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

func parse(text []byte) (Line, error) {
	var l Line
	if err := json.Unmarshal(text, &l); err != nil {
		return l, err
	}
	if l.Version != version {
		return l, fmt.Errorf("version %d is not known", l.Version)
	}
	if l.Event != Published && l.Event != Removed {
		return l, fmt.Errorf("the event %.64q is not known", l.Event)
	}
	return l, nil
}
