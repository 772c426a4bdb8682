package localstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"go.uber.org/zap"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/transfer"
)

// Import copies revisions from outside into a store, with their times. A revision appears whole or
// not at all, and what is there already is skipped, so that an import which was ended goes on when
// it is started again.
type Import struct {
	transfer.Incoming
	To *Store

	left *leftStages // of the call of Take
}

// leftStages are stages that an import did not make revisions of. They stay until it ends, since
// another revision may need their bytes.
type leftStages struct {
	mu  sync.Mutex
	ids []string
}

func (l *leftStages) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

// drop removes the stages. An error is logged; the sweep removes them later.
func (l *leftStages) drop(ctx context.Context, s *Store) {
	if len(l.ids) == 0 {
		return
	}
	if err := s.index.DropStages(context.WithoutCancel(ctx), l.ids); err != nil {
		s.log.Warn("the stages of an import could not be removed", zap.Error(err))
	}
}

var _ transfer.Sink = Import{}

// Take copies pinned revisions; recipes of packages come along. Files are checked as on
// publication. A revision that the store has with the same contents is skipped, but one that was
// published again since gets its new time; other bytes are conan.ErrConflict with both digests.
// Where each revision is made by itself, one that is wrong or gone is a Problem, and the others are
// copied. A dry run only tells what would be done.
func (i Import) Take(ctx context.Context, revs []conan.Revision, by conan.Actor, dry bool) ([]conan.Moved, error) {
	items, err := transfer.InOrder(ctx, i.From, revs)
	if err != nil {
		return nil, err
	}
	i.left = new(leftStages)
	defer func() { i.left.drop(ctx, i.To) }()
	moved := make([]conan.Moved, 0, len(items))
	var ready []index.ImportItem
	newest := newestOf{store: i.To, newest: make(map[conan.Revision]transfer.Item)}
	for item, done := range i.prepared(ctx, items, by, dry) {
		row, err := i.made(ctx, done, by, dry)
		if i.Complete == nil && ofOneRevision(err) {
			moved = append(moved, conan.Moved{Revision: item.Revision, Problem: err.Error()})
			continue
		}
		if err == nil {
			err = newest.note(ctx, item, row != nil)
		}
		if err != nil {
			return nil, err
		}
		if row != nil && i.Complete != nil {
			ready = append(ready, *row)
		}
		moved = append(moved, conan.Moved{Revision: item.Revision, Skipped: row == nil})
	}
	if i.Complete != nil {
		if err := i.Complete(); err != nil {
			return nil, err
		}
	}
	if len(ready) > 0 && !dry {
		if err := i.commit(ctx, ready, by); err != nil {
			return nil, err
		}
	}
	newest.mark(moved)
	return moved, nil
}

// prepared is what became of preparing a revision; row is nil if there is nothing to do.
type prepared struct {
	row *index.ImportItem
	err error
}

// prepared prepares revisions and yields them in their order. Up to Ahead of them are prepared
// before they are asked for.
func (i Import) prepared(ctx context.Context, items []transfer.Item, by conan.Actor, dry bool) iter.Seq2[transfer.Item, prepared] {
	return func(yield func(transfer.Item, prepared) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		var begun []<-chan prepared // the next ones
		defer func() {
			cancel()
			running.Wait()
			for _, done := range begun {
				if p := <-done; p.row != nil {
					i.left.add(p.row.StageID)
				}
			}
		}()
		begin := func(item transfer.Item) <-chan prepared {
			done := make(chan prepared, 1)
			running.Go(func() {
				row, err := i.prepare(ctx, item, by, dry)
				done <- prepared{row, err}
			})
			return done
		}
		rest := items
		for _, item := range items {
			for len(rest) > 0 && (len(begun) == 0 || len(begun) < i.Ahead) {
				begun, rest = append(begun, begin(rest[0])), rest[1:]
			}
			next := <-begun[0]
			begun = begun[1:]
			if !yield(item, next) {
				return
			}
		}
	}
}

// made makes a prepared revision, if it is made by itself.
func (i Import) made(ctx context.Context, p prepared, by conan.Actor, dry bool) (*index.ImportItem, error) {
	if p.err != nil || p.row == nil || i.Complete != nil || dry {
		return p.row, p.err
	}
	err := i.commit(ctx, []index.ImportItem{*p.row}, by)
	if err != nil {
		i.left.add(p.row.StageID)
	}
	return p.row, err
}

// ofOneRevision tells an error that says nothing about other revisions.
func ofOneRevision(err error) bool {
	var refused *conan.UnavailableError
	for _, kind := range []error{conan.ErrInvalid, conan.ErrIncomplete, conan.ErrConflict, conan.ErrNotFound} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return errors.As(err, &refused) && refused.Refused
}

// prepare stages and checks one revision. It is nil if there is nothing to do.
func (i Import) prepare(ctx context.Context, item transfer.Item, by conan.Actor, dry bool) (*index.ImportItem, error) {
	if item.Mutable() {
		return nil, fmt.Errorf("%w: %s has no revision", conan.ErrInvalid, item.Revision)
	}
	answer, err := i.From.Snapshot(ctx, item.Revision)
	if err != nil {
		return nil, err
	}
	row := &index.ImportItem{Revision: item.Revision, Time: item.Time, Uploader: by.Name}
	there, err := i.To.index.Held(ctx, i.To.member, item.Revision)
	switch {
	case errors.Is(err, conan.ErrNotFound) && dry:
		return row, nil
	case errors.Is(err, conan.ErrNotFound):
		return row, i.stage(ctx, row, answer.Value, by)
	case err != nil:
		return nil, err
	}
	row.Existing = sums(withoutMetadata(there.Files))
	if err := i.compare(ctx, item.Revision, there.Files, answer.Value, by); err != nil || !item.Time.After(there.Time) {
		return nil, err
	}
	return row, nil
}

// compare compares the files of a revision that the store has. Those that it opens are staged
// first: another revision may need their bytes, and the source may give them once only.
func (i Import) compare(ctx context.Context, rev conan.Revision, stored, offered conan.Snapshot, by conan.Actor) error {
	st := i.newStage(rev, by)
	defer i.left.add(st.ID)
	return i.To.compare(ctx, comparison{rev: rev, stored: withoutMetadata(stored), offered: withoutMetadata(offered), from: i.Name,
		open: func(f conan.FileInfo) (io.ReadCloser, error) {
			staged, err := i.fetch(ctx, st, f)
			if err != nil {
				return nil, err
			}
			return i.To.blobs.Open(ctx, blob.Digest(staged.SHA256))
		}})
}

func (i Import) newStage(rev conan.Revision, by conan.Actor) index.Stage {
	return index.Stage{
		Member: i.To.member, ID: "import-" + rand.Text(), Revision: rev, Uploader: by.Name, Address: by.Address, Touched: i.To.now(),
	}
}

// stage puts all files of a revision into a stage and checks them as a publication does.
func (i Import) stage(ctx context.Context, row *index.ImportItem, offered conan.Snapshot, by conan.Actor) (err error) {
	s := i.To
	st := i.newStage(row.Revision, by)
	defer func() {
		if err != nil {
			i.left.add(st.ID)
		}
	}()
	for _, f := range offered {
		if conan.CheckFileName(f.Name, row.IsPackage()) != nil {
			continue // another server's own file
		}
		if _, err := i.fetch(ctx, st, f); err != nil {
			return err
		}
	}
	c, err := s.readStage(ctx, st.ID)
	if errors.Is(err, index.ErrNoStage) {
		return fmt.Errorf("%w: %s has no files", conan.ErrIncomplete, row.Revision)
	}
	if err != nil {
		return err
	}
	if err := s.identify(ctx, c, nil); err != nil {
		return err
	}
	if err := s.completeSet(ctx, c, nil); err != nil {
		return err
	}
	if !i.Verified {
		if err := s.compareContents(ctx, c); err != nil {
			return err
		}
	}
	row.StageID, row.Staged, row.Info = st.ID, sums(c.stage.Files), c.info
	return s.blobs.Sync(ctx, digests(c.stage.Files)...)
}

// fetch puts one file into the stage. Bytes of a known digest that are stored here are not copied.
func (i Import) fetch(ctx context.Context, st index.Stage, f conan.FileInfo) (conan.FileInfo, error) {
	if known, err := i.To.index.BlobSums(ctx, f.SHA256); err == nil {
		known.Name = f.Name
		if err := i.To.keep(ctx, st, known); !errors.Is(err, blob.ErrNotFound) {
			return known, err
		}
	}
	answer, err := i.From.Open(ctx, st.Revision, f.Name)
	if err != nil {
		return f, fmt.Errorf("open %s of %s: %w", f.Name, st.Revision, err)
	}
	defer answer.Value.Close()
	var lister *conan.ArchiveLister
	if !i.Verified && conan.IsArchive(f.Name) {
		lister = i.To.checks.NewLister(f.Name)
		defer lister.End()
	}
	info, err := i.To.receive(ctx, st, f.Name, answer.Value, lister)
	if errors.Is(err, errOtherDigest) {
		return info, fmt.Errorf("%w: %w in %q", conan.ErrInvalid, err, i.Name)
	}
	return info, err
}

// commit makes rows.
func (i Import) commit(ctx context.Context, items []index.ImportItem, by conan.Actor) error {
	revs := make([]conan.Revision, len(items))
	for n, item := range items {
		revs[n] = item.Revision
	}
	err := i.To.index.Import(ctx, index.Import{
		Member: i.To.member, Items: items, Now: i.To.now(),
		Audit: index.Audit{By: by, Action: index.ActionImport, Member: i.To.name, Target: "from " + i.Name + ": " + index.Targets(revs)},
	})
	if errors.Is(err, index.ErrStageChanged) {
		return fmt.Errorf("%w: the store %q was changed meanwhile; try again (%v)", conan.ErrConflict, i.To.name, err)
	}
	if err != nil {
		return err
	}
	i.To.log.Info("imported", zap.String("from", i.Name), zap.Int("revisions", len(items)), zap.String("user", by.Name))
	return nil
}

// newestOf follows which revision is the newest of its siblings in a store.
type newestOf struct {
	store  *Store
	newest map[conan.Revision]transfer.Item // by the node without its own id
}

// note notes a revision of the store, and whether it is added or only looked at.
func (n newestOf) note(ctx context.Context, item transfer.Item, added bool) error {
	node := item.With("")
	if _, ok := n.newest[node]; !ok {
		rows, err := n.store.index.Revisions(ctx, n.store.member, node)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			n.newest[node] = transfer.Item{Revision: rows[0].Revision, Time: rows[0].Time}
		}
	}
	if added && !item.Time.Before(n.newest[node].Time) {
		n.newest[node] = item
	}
	return nil
}

// mark tells of each revision whether it is the newest now.
func (n newestOf) mark(moved []conan.Moved) {
	for i, m := range moved {
		moved[i].Newest = n.newest[m.With("")].Revision == m.Revision
	}
}
