package journal

import (
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func lines(n int) []Line {
	var out []Line
	for i := range n {
		out = append(out, Line{
			Version: version, Seq: int64(i + 1), Event: Published, Store: "local", Ref: "a/1", RRev: "r",
			Time:  time.Unix(int64(i), 5000).UTC(),
			Files: []File{{Name: "conanfile.py", Size: int64(i), MD5: "m", SHA1: "s", SHA256: strings.Repeat("f", 64)}},
		})
	}
	return out
}

func all(list []Line) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, l := range list {
			if !yield(l, nil) {
				return
			}
		}
	}
}

func readAll(t *testing.T, path string) []Line {
	t.Helper()
	var out []Line
	for l, err := range Read(path) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// 3000 lines are more than one step of Create and of the search for the end.
func TestJournalRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 3000} {
		path := filepath.Join(t.TempDir(), "journal")
		want := lines(n + 2)
		if err := Create(path, all(want[:n])); err != nil {
			t.Fatal(err)
		}
		j, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if j.Last() != int64(n) {
			t.Errorf("Last = %d, want %d", j.Last(), n)
		}
		for _, l := range want[n:] {
			if err := j.Append(l); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readAll(t, path)); diff != "" {
			t.Errorf("%d lines (-want +got):\n%s", n, diff)
		}
	}
}

// A crash can cut the last line short, or leave a long tail of zeros.
func TestJournalEndsWithACutLine(t *testing.T) {
	for name, tail := range map[string]string{
		"half a line": `{"version":1,"seq":`, "zeros": strings.Repeat("\x00", 200_000), "long": strings.Repeat("x", 200_000),
	} {
		path := filepath.Join(t.TempDir(), "journal")
		want := lines(3)
		if err := Create(path, all(want[:2])); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[:2], readAll(t, path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		j, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.Append(want[2]), j.Close()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readAll(t, path)); diff != "" {
			t.Errorf("%s, appended (-want +got):\n%s", name, diff)
		}
	}
}

func TestJournalThatIsMissingOrNotUnderstood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want ErrNotExist", err)
	}
	for _, err := range Read(path) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read = %v, want ErrNotExist", err)
		}
	}
	failed := errors.New("no line")
	if err := Create(path, func(yield func(Line, error) bool) { yield(Line{}, failed) }); !errors.Is(err, failed) {
		t.Errorf("Create = %v, want %v", err, failed)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
		t.Errorf("a failed Create left %v, %v", left, err)
	}
	for _, text := range []string{"{}\n", "x\n", `{"version":1,"seq":1,"event":"renamed"}` + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if j, err := Open(path); err == nil {
			t.Errorf("Open of %q succeeded", text)
			j.Close()
		}
	}
}
