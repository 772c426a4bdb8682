package localstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Stage implements conan.Publisher.
func (s *Store) Stage(ctx context.Context, target conan.Revision, by conan.Actor, sizes map[string]int64) (string, error) {
	target = conan.Revision{Ref: target.Ref, PackageID: target.PackageID}
	total, err := checkDeclared(target, sizes)
	if err != nil {
		return "", err
	}
	if err := s.CheckSpace(ctx, total); err != nil {
		return "", err
	}
	if target.IsPackage() {
		if err := s.knowsRecipe(ctx, target, by); err != nil {
			return "", err
		}
	}
	base, err := s.newest(ctx, target)
	if err != nil {
		return "", err
	}
	st := index.Stage{
		Member: s.member, ID: "upload-" + rand.Text(), Revision: target, Uploader: by.Name, Address: by.Address,
		Declared: sizes, Base: base, Touched: s.now(),
	}
	if err := s.index.CreateStage(ctx, st); err != nil {
		return "", err
	}
	return st.ID, nil
}

// checkDeclared validates names and sizes of a declared set and returns the sum of the sizes.
func checkDeclared(target conan.Revision, sizes map[string]int64) (total int64, err error) {
	if len(sizes) == 0 {
		return 0, fmt.Errorf("%w: no files were named for %s", conan.ErrInvalid, target)
	}
	kinds := make(map[string]string)
	names := make([]string, 0, len(sizes))
	for name := range sizes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := conan.CheckFileName(name, target.IsPackage()); err != nil {
			return 0, err
		}
		if conan.IsMetadata(name) {
			return 0, fmt.Errorf("%w: %q cannot be part of an announced upload of %s", conan.ErrInvalid, name, target)
		}
		if err := checkSize(target, name, sizes[name]); err != nil {
			return 0, err
		}
		if other := kinds[archiveKind(name)]; other != "" {
			return 0, twoArchives(target, other, name)
		}
		if kind := archiveKind(name); kind != "" {
			kinds[kind] = name
		}
		if total += sizes[name]; total < 0 {
			return 0, fmt.Errorf("%w: the sizes of %s are too large", conan.ErrInvalid, target)
		}
	}
	return total, nil
}

// maxInfoSize bounds a conaninfo.txt, which is kept in the index and in memory; real ones have a
// few kB.
const maxInfoSize = 4 << 20

// checkSize refuses sizes that a file of that name cannot have.
func checkSize(target conan.Revision, name string, size int64) error {
	bad := func(what string) error {
		return fmt.Errorf("%w: %s of %s %s", conan.ErrInvalid, name, target, what)
	}
	switch {
	case size < 0:
		return bad("has a negative size")
	case size == 0 && name != conan.InfoFile && !conan.IsMetadata(name):
		return bad("is empty")
	case name == conan.ManifestFile && size > conan.MaxManifestSize:
		return bad(fmt.Sprintf("is larger than %d bytes", conan.MaxManifestSize))
	case name == conan.InfoFile && size > maxInfoSize:
		return bad(fmt.Sprintf("is larger than %d bytes", maxInfoSize))
	}
	return nil
}

// archiveKind is the name of an archive without its extension, as in conan.PackagePrefix; empty for
// other files.
func archiveKind(name string) string {
	if !conan.IsArchive(name) {
		return ""
	}
	return name[:strings.LastIndexByte(name, '.')+1]
}

func twoArchives(rev conan.Revision, there, name string) error {
	return fmt.Errorf("%w: %s has %s, so %s is refused: a revision has one archive of a kind", conan.ErrConflict, rev, there, name)
}

// setID is the id of the stage of an undeclared set: one per store, revision and uploader.
func (s *Store) setID(rev conan.Revision, user string) string {
	return s.derivedID("set", rev, user)
}

func (s *Store) derivedID(prefix string, rev conan.Revision, user string) string {
	key := fmt.Sprintf("%q", []string{strconv.FormatInt(int64(s.member), 10), rev.Ref.Path(), rev.RRev, rev.PackageID, rev.PRev, user})
	sum := sha256.Sum256([]byte(key))
	return prefix + "-" + hex.EncodeToString(sum[:16])
}

// stageOf finds the stage that an upload belongs to. That of an undeclared set need not exist yet:
// it is made when its first file is stored. index.ErrNoStage means that a declared set is over or
// was never announced.
func (s *Store) stageOf(ctx context.Context, up conan.Upload) (index.Stage, error) {
	if err := conan.CheckFileName(up.Name, up.IsPackage()); err != nil {
		return index.Stage{}, err
	}
	if up.Stage != "" {
		return s.declaredStage(ctx, up)
	}
	rev := up.Revision
	if rev.RRev == conan.MutableRevision {
		rev.RRev = ""
	}
	if rev.PRev == conan.MutableRevision {
		rev.PRev = ""
	}
	st, err := s.index.Stage(ctx, s.setID(rev, up.By.Name))
	if !errors.Is(err, index.ErrNoStage) {
		return st, err
	}
	if rev.IsPackage() {
		if err := s.knowsRecipe(ctx, rev, up.By); err != nil {
			return index.Stage{}, err
		}
	}
	return index.Stage{Member: s.member, ID: s.setID(rev, up.By.Name), Revision: rev, Uploader: up.By.Name, Address: up.By.Address}, nil
}

func (s *Store) declaredStage(ctx context.Context, up conan.Upload) (index.Stage, error) {
	st, err := s.index.Stage(ctx, up.Stage)
	if err != nil {
		return index.Stage{}, err
	}
	if st.Declared == nil || st.Ref != up.Ref || st.PackageID != up.PackageID {
		return index.Stage{}, index.ErrNoStage
	}
	if st.Uploader != up.By.Name {
		return index.Stage{}, fmt.Errorf("%w: this upload of %s was announced by another user", conan.ErrDenied, st.Revision)
	}
	if _, ok := st.Declared[up.Name]; !ok {
		return index.Stage{}, fmt.Errorf("%w: %s was not announced for this upload of %s", conan.ErrInvalid, up.Name, st.Revision)
	}
	return st, nil
}

// newest is the pinned revision that a client of v1 sees as target: the newest recipe revision, or
// the newest package revision in the newest recipe revision that has one. The zero value if there
// is none.
func (s *Store) newest(ctx context.Context, target conan.Revision) (conan.Revision, error) {
	recipes, err := s.index.Revisions(ctx, s.member, conan.Revision{Ref: target.Ref})
	if err != nil {
		return conan.Revision{}, err
	}
	for _, r := range recipes {
		if !target.IsPackage() {
			return r.Revision, nil
		}
		packages, err := s.index.Revisions(ctx, s.member, conan.Revision{Ref: target.Ref, RRev: r.RRev, PackageID: target.PackageID})
		if err != nil {
			return conan.Revision{}, err
		}
		if len(packages) > 0 {
			return packages[0].Revision, nil
		}
	}
	return conan.Revision{}, nil
}

// knowsRecipe tells whether the recipe of a package is published here, is being uploaded by the
// same user, or is known upstream: nil, or conan.ErrNotFound, or why it could not be told.
func (s *Store) knowsRecipe(ctx context.Context, target conan.Revision, by conan.Actor) error {
	recipe := target.Recipe()
	if recipe.RRev == "" {
		stored, err := s.index.Revisions(ctx, s.member, recipe)
		if err != nil || len(stored) > 0 {
			return err
		}
		if s.upstream == nil {
			return recipeNotFound(recipe)
		}
		_, err = s.upstream(by).Latest(ctx, recipe)
		return recipeError(recipe, err)
	}
	_, err := s.index.Find(ctx, s.member, recipe)
	if !errors.Is(err, conan.ErrNotFound) {
		return err
	}
	coming, err := s.index.StageExists(ctx, s.setID(recipe, by.Name))
	if err != nil || coming {
		return err
	}
	if s.upstream == nil {
		return recipeNotFound(recipe)
	}
	_, err = s.upstream(by).Snapshot(ctx, recipe)
	return recipeError(recipe, err)
}

func recipeNotFound(recipe conan.Revision) error {
	return fmt.Errorf("%w: Recipe not found: '%s'; upload it first", conan.ErrNotFound, recipe)
}

// recipeError makes upstream's "not found" ours, and so the case that no upstream may be asked.
func recipeError(recipe conan.Revision, err error) error {
	if conan.IsAbsent(err) {
		return recipeNotFound(recipe)
	}
	return err
}
