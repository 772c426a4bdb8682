package localstore

import (
	"context"
	"fmt"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// replacement is a file of a published revision whose bytes are replaced by an upload of the same
// revision.
type replacement struct{ old, new conan.FileInfo }

// findReplaced finds the files of the published revision that the candidate replaces. An archive is
// replaced if it differs in more than order, times, owners or compression, which the revision id
// does not tell. It is conan.ErrDenied if the store does not overwrite.
func (s *Store) findReplaced(ctx context.Context, k *conan.Check, c *candidate, archives map[string]*conan.Listing) error {
	for _, old := range c.existing {
		sent, ok := c.sentInPlaceOf(old)
		if !ok || sent.SHA256 == old.SHA256 {
			continue
		}
		stored, err := s.list(ctx, k, old)
		if err != nil {
			return fmt.Errorf("list the published %s of %s: %w", old.Name, c.rev, err)
		}
		if stored.Content() != archives[sent.Name].Content() {
			c.replaced = append(c.replaced, replacement{old, sent})
		}
	}
	if len(c.replaced) == 0 || s.overwrite.Load() {
		return nil
	}
	var names []string
	for _, r := range c.replaced {
		names = append(names, r.new.Name)
	}
	return fmt.Errorf("%w: %s is published with another %s, and the store %q does not allow to overwrite it; upload a new revision",
		conan.ErrOverwrite, c.rev, strings.Join(names, ", "), s.name)
}

// sentInPlaceOf returns the archive that was sent of the same kind.
func (c *candidate) sentInPlaceOf(old conan.FileInfo) (conan.FileInfo, bool) {
	kind := archiveKind(old.Name)
	for _, f := range c.files {
		if kind != "" && archiveKind(f.Name) == kind && !c.takenOver(f.Name) {
			return f, true
		}
	}
	return conan.FileInfo{}, false
}

// overwrite puts the replacements into a publication, with an audit line for each.
func (c *candidate) overwrite(p *index.Publication, store string) {
	for _, r := range c.replaced {
		p.Files = append(p.Files, r.new)
		if r.old.Name != r.new.Name {
			p.Remove = append(p.Remove, r.old.Name)
		}
		p.Audit = append(p.Audit, index.Audit{
			By: c.by(), Action: index.ActionOverwrite, Member: store,
			Target: fmt.Sprintf("%s %s sha256:%s -> %s sha256:%s", c.rev, r.old.Name, r.old.SHA256, r.new.Name, r.new.SHA256),
		})
	}
}
