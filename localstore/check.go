package localstore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// maxKeptMembers bounds the text of a member list that waits in the index for its manifest; a longer one is made again from the bytes.
const maxKeptMembers = 16 << 20

// keptMembers closes the list of an archive that has arrived and returns it as text. A list that is not ready after the
// timeout, or too long to be kept, is empty: it is made again from the bytes when it is needed.
func keptMembers(list *conan.ArchiveLister, timeout time.Duration) (string, error) {
	if err := list.Close(); err != nil {
		return "", err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-list.Done():
	case <-timer.C:
		return "", nil
	}
	members, err := list.Members()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(members)
	if err != nil {
		return "", fmt.Errorf("keep the list of an archive: %w", err)
	}
	if len(text) > maxKeptMembers {
		return "", nil
	}
	return string(text), nil
}

// check compares the contents of a complete candidate with its manifest.
func (s *Store) check(ctx context.Context, c *candidate) error {
	if c.rev.IsPackage() {
		if err := c.checkPackageID(); err != nil {
			return err
		}
	}
	small := make(map[string]string)
	archives := make(map[string][]conan.Member)
	for _, f := range c.whole() {
		switch {
		case f.Name == conan.RecipeFile || f.Name == conan.InfoFile:
			small[f.Name] = f.MD5
		case conan.IsArchive(f.Name) && !c.unchanged():
			members, err := s.members(ctx, c.stage.ID, f)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", f.Name, c.rev, err)
			}
			archives[f.Name] = members
		}
	}
	if c.unchanged() {
		return c.checkSmall(small)
	}
	_, err := conan.CheckContents(c.manifest, c.rev.IsPackage(), archives, small, true)
	if err == nil {
		return nil
	}
	if len(c.takeover) > 0 {
		return fmt.Errorf("%w: %s of %s was not sent, and that of the revision before does not fit: %v",
			conan.ErrIncomplete, strings.Join(c.takeover, ", "), c.rev, err)
	}
	return fmt.Errorf("%s: %w", c.rev, err)
}

// unchanged tells whether the revision is published and no archive was sent: its archives were checked when they came.
func (c *candidate) unchanged() bool {
	if len(c.existing) == 0 {
		return false
	}
	for name := range c.files {
		if conan.IsArchive(name) {
			return false
		}
	}
	return true
}

func (c *candidate) checkSmall(small map[string]string) error {
	for name, sum := range small {
		if c.manifest.Files[name] != sum {
			return fmt.Errorf("%w: %s of %s does not have the md5 that %s says", conan.ErrInvalid, name, c.rev, conan.ManifestFile)
		}
	}
	return nil
}

// members is the list of an archive: the one that was kept, else a new one from the stored bytes.
func (s *Store) members(ctx context.Context, stage string, f conan.FileInfo) ([]conan.Member, error) {
	kept, err := s.index.StagedMembers(ctx, stage, f.Name, f.SHA256)
	if err != nil {
		return nil, err
	}
	if kept != "" {
		var list []conan.Member
		if err := json.Unmarshal([]byte(kept), &list); err != nil {
			return nil, fmt.Errorf("read the list of %s: %w", f.Name, err)
		}
		return list, nil
	}
	r, err := s.blobs.Open(ctx, blob.Digest(f.SHA256))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return conan.ListArchive(f.Name, &contextReader{ctx: ctx, r: r})
}

// contextReader stops reading when its context is over.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
