package localstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Link implements conan.Publisher. A sha1 that several contents share is not linked: a collision
// must not put one content in the place of another.
func (s *Store) Link(ctx context.Context, up conan.Upload, mayRead func(string, conan.Ref) bool) error {
	return s.refusal(ctx, up, s.link(ctx, up, mayRead))
}

func (s *Store) link(ctx context.Context, up conan.Upload, mayRead func(string, conan.Ref) bool) error {
	st, err := s.stageOf(ctx, up)
	if errors.Is(err, index.ErrNoStage) {
		return notStored(up)
	}
	if err != nil {
		return err
	}
	info, err := s.linked(ctx, up, mayRead)
	if err != nil {
		return err
	}
	up.Size = info.Size
	if _, err := announced(st, up); err != nil {
		return err
	}
	if err := oneArchive(st, up.Name); err != nil {
		return err
	}
	if err := s.prepareMetadata(ctx, st, up.Name, up.By); err != nil {
		return err
	}
	if err := s.linkable(ctx, st, info); err != nil {
		return err
	}
	var names []string
	err = s.blobs.Keep(ctx, blob.Digest(info.SHA256), func() (err error) {
		st.Touched = s.now()
		names, err = s.index.PutStaged(ctx, st, index.StagedFile{FileInfo: info})
		return err
	})
	if errors.Is(err, blob.ErrNotFound) {
		return notStored(up)
	}
	if err != nil {
		return err
	}
	return s.finish(ctx, st, up.Name, names)
}

// linked finds the bytes with the sha1 in a revision that the caller may read.
func (s *Store) linked(ctx context.Context, up conan.Upload, mayRead func(string, conan.Ref) bool) (conan.FileInfo, error) {
	if up.SHA1 == "" {
		return conan.FileInfo{}, fmt.Errorf("%w: a checksum deploy of %s of %s without X-Checksum-Sha1", conan.ErrInvalid, up.Name, up.Revision)
	}
	holders, err := s.index.HoldersBySHA1(ctx, strings.ToLower(up.SHA1))
	if err != nil {
		return conan.FileInfo{}, err
	}
	if len(holders) != 1 {
		return conan.FileInfo{}, notStored(up)
	}
	members, err := s.index.Members(ctx)
	if err != nil {
		return conan.FileInfo{}, err
	}
	names := make(map[index.MemberID]string, len(members))
	for _, m := range members {
		names[m.ID] = m.Name
	}
	for _, in := range holders[0].In {
		if mayRead(names[in.Member], in.Ref) {
			info := holders[0].FileInfo
			info.Name = up.Name
			return info, nil
		}
	}
	return conan.FileInfo{}, notStored(up)
}

// linkable refuses a manifest that is none, as Put does.
func (s *Store) linkable(ctx context.Context, st index.Stage, info conan.FileInfo) error {
	if info.Name != conan.ManifestFile {
		return nil
	}
	if _, err := s.outlineOf(ctx, conan.Snapshot{info}); err != nil {
		return fmt.Errorf("%s: %w", st.Revision, err)
	}
	return nil
}

var errNotStored = fmt.Errorf("%w: no such bytes are stored", conan.ErrNotFound)

func notStored(up conan.Upload) error {
	return fmt.Errorf("%w; send %s of %s", errNotStored, up.Name, up.Revision)
}
