// Package journal is the file beside the blobs from which the stores' part of a lost index can be
// rebuilt: one JSON line for each change of a published revision, which says what the revision is
// from then on.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"conanproxy/internal/blob"
)

// Journal is the open file. One goroutine at a time may use it.
type Journal struct {
	file *os.File
	size int64 // of the complete lines
	last int64 // number of the last of them
}

// Open opens the journal at path; one that is not there is fs.ErrNotExist. A last line that a crash
// cut short does not count.
func Open(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{file: f}
	if err := j.findEnd(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the end of the journal %s: %w", path, err), f.Close())
	}
	return j, nil
}

// findEnd reads backwards from the end of the file until it has a whole line.
func (j *Journal) findEnd() error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	for step := int64(64 << 10); ; step *= 2 {
		from := max(0, info.Size()-step)
		tail := make([]byte, info.Size()-from)
		if _, err := j.file.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := bytes.LastIndexByte(tail, '\n') + 1
		start := bytes.LastIndexByte(tail[:max(0, end-1)], '\n') + 1
		if start == 0 && from > 0 {
			continue
		}
		j.size = from + int64(end)
		if end == 0 {
			return j.file.Truncate(0)
		}
		line, err := parse(tail[start:end])
		if err != nil {
			return err
		}
		j.last = line.Seq
		return j.file.Truncate(j.size)
	}
}

// Create replaces the journal at path by one with these lines, durably.
func Create(path string, lines iter.Seq2[Line, error]) error {
	err := create(path, lines)
	if err != nil {
		return fmt.Errorf("make the journal: %w", err)
	}
	return nil
}

func create(path string, lines iter.Seq2[Line, error]) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name after the rename
	defer f.Close()
	j := &Journal{file: f}
	var some []Line
	for line, err := range lines {
		if err != nil {
			return err
		}
		const many = 1000
		if some = append(some, line); len(some) < many {
			continue
		}
		if err := j.write(some); err != nil {
			return err
		}
		some = some[:0]
	}
	if err := j.Append(some...); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return blob.SyncDir(filepath.Dir(path))
}

// Last is the number of the last line; 0 if there is none.
func (j *Journal) Last() int64 { return j.last }

// Append adds lines, durably and all or none. It may be called again after a failure: the end of
// the file is overwritten then.
func (j *Journal) Append(lines ...Line) error {
	before := *j
	err := j.write(lines)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		*j = before
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *Journal) write(lines []Line) error {
	var text []byte
	for _, line := range lines {
		line.Version = version
		one, err := json.Marshal(line)
		if err != nil {
			return err
		}
		text = append(append(text, one...), '\n')
		j.last = line.Seq
	}
	_, err := j.file.WriteAt(text, j.size)
	j.size += int64(len(text))
	return err
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
