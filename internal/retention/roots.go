package retention

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
)

// maxRootSize bounds one file of Roots in bytes.
const maxRootSize = 64 << 20

// Roots are files of the client whose revisions stay: lockfiles, package lists and graphs.
type Roots struct {
	byRef map[conan.Ref][]root
}

// root is one revision that a file names.
type root struct {
	selection.Name
	file string
}

// ReadRoots reads the files that patterns of filepath.Glob match. A pattern that matches no file,
// and a file that cannot be read or understood, is conan.ErrInvalid with a sentence that names it.
func ReadRoots(patterns []string) (Roots, error) {
	roots := Roots{byRef: make(map[conan.Ref][]root)}
	read := make(map[string]bool)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return Roots{}, fmt.Errorf("%w: root %s: %w", conan.ErrInvalid, pattern, err)
		}
		if len(files) == 0 {
			return Roots{}, fmt.Errorf("%w: root %s matches no file", conan.ErrInvalid, pattern)
		}
		for _, file := range files {
			if read[file] {
				continue
			}
			read[file] = true
			if err := roots.add(file); err != nil {
				return Roots{}, fmt.Errorf("%w: root %s: %s", conan.ErrInvalid, file, strings.TrimPrefix(err.Error(), conan.ErrInvalid.Error()+": "))
			}
		}
	}
	return roots, nil
}

func (r Roots) add(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is no file")
	}
	if info.Size() > maxRootSize {
		return fmt.Errorf("it is larger than %d MiB", maxRootSize>>20)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	names, err := selection.Names(text)
	for _, name := range names {
		r.byRef[name.Ref] = append(r.byRef[name.Ref], root{name, file})
	}
	return err
}

// Keeps is a Keep. A lockfile keeps its recipe revisions with all their packages, the other files
// what they name and the recipes of their packages. Where a file leaves the revision open,
// everything stays that it may be.
func (r Roots) Keeps(rev conan.Revision) (reason string, stays bool) {
	for _, root := range r.byRef[rev.Ref] {
		if root.keeps(rev) {
			return "rooted by " + root.file, true
		}
	}
	return "", false
}

func (r root) keeps(rev conan.Revision) bool {
	switch {
	case r.RRev == "":
		return true
	case r.RRev != rev.RRev:
		return false
	case r.Locked || !rev.IsPackage():
		return true
	}
	return r.PackageID == rev.PackageID && (r.PRev == "" || r.PRev == rev.PRev)
}
