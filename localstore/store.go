// Package localstore is the authoritative store: what was published here. It takes uploads apart from what readers
// see, publishes a complete set in one transaction as an immutable revision, and deletes only when asked to.
package localstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// Options are the options of New.
type Options struct {
	Index *index.DB  // required
	Blobs blob.Store // required; shared with the caches

	// Upstream is asked for recipes that packages are published for and that are not here: the resolver over
	// all upstreams. Nil means none.
	Upstream conan.Source

	// Room tells whether that many more bytes may be stored: nil or conan.ErrNoSpace. Nil means always.
	Room func(ctx context.Context, bytes int64) error

	// Reserve is Room for bytes that are about to be written: nobody else is promised them until the reservation is
	// released, so that many uploads at once do not take the same room. Nil means that Room alone is asked.
	Reserve func(ctx context.Context, bytes int64) (Reservation, error)

	// Changed is called after the revisions of a reference changed, also by work that outlived its request. Nil means nobody listens.
	Changed func(conan.Ref)

	Log          *zap.Logger      // nil logs nothing
	Now          func() time.Time // nil is time.Now
	CheckTimeout time.Duration    // how long one request waits for a check; 0 is 45 s
}

// Store is the authoritative Source and Publisher.
type Store struct {
	index        *index.DB
	blobs        blob.Store
	upstream     conan.Source
	room         func(context.Context, int64) error
	reserve      func(context.Context, int64) (Reservation, error)
	changed      func(conan.Ref) // after the rows of a reference changed
	names        names
	lists        *lists
	log          *zap.Logger
	now          func() time.Time
	checkTimeout time.Duration

	adoptions singleflight.Group
	verdicts  *lru.Cache[string, verdict] // by stage id

	ctx  context.Context // of the work that requests only watch
	stop context.CancelFunc
	busy sync.WaitGroup

	mu     sync.Mutex
	closed bool
	works  map[string]*work // by stage id
}

var (
	_ conan.Source    = (*Store)(nil)
	_ conan.Publisher = (*Store)(nil)
)

// New makes a store over an index and a blob store. Close ends it.
func New(o Options) (*Store, error) {
	if o.Index == nil || o.Blobs == nil {
		return nil, errors.New("local store: index and blob store are required")
	}
	const rememberedVerdicts = 1024
	verdicts, err := lru.New[string, verdict](rememberedVerdicts)
	if err != nil {
		return nil, fmt.Errorf("local store: %w", err)
	}
	lists, err := newLists()
	if err != nil {
		return nil, err
	}
	s := &Store{
		index: o.Index, blobs: o.Blobs, upstream: o.Upstream, room: o.Room, log: o.Log,
		now: o.Now, checkTimeout: o.CheckTimeout, verdicts: verdicts, works: make(map[string]*work), names: names{index: o.Index}, lists: lists,
	}
	if s.room == nil {
		s.room = func(context.Context, int64) error { return nil }
	}
	if s.reserve = o.Reserve; s.reserve == nil {
		s.reserve = func(ctx context.Context, n int64) (Reservation, error) { return unpromised(s.room), s.room(ctx, n) }
	}
	if o.Changed == nil {
		o.Changed = func(conan.Ref) {}
	}
	s.changed = func(ref conan.Ref) {
		s.lists.forget(ref)
		s.names.update(s.ctx, ref)
		o.Changed(ref)
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.checkTimeout <= 0 {
		s.checkTimeout = 45 * time.Second
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the checks that are still running and waits for them. What they checked stays staged.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.busy.Wait()
}

// note says that an answer is this store's own and holds until something is published here.
func note(ctx context.Context) {
	conan.Note(ctx, conan.Origin{Member: index.LocalMember, State: conan.StateLocal, Expires: conan.Forever})
}

// Latest implements conan.Source.
func (s *Store) Latest(ctx context.Context, rev conan.Revision) (conan.RevisionTime, error) {
	list, err := s.Revisions(ctx, rev)
	if err != nil {
		return conan.RevisionTime{}, err
	}
	return list[0], nil
}

// Revisions implements conan.Source.
func (s *Store) Revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	note(ctx)
	if err := s.visible(ctx, rev); err != nil {
		return nil, err
	}
	stored, err := s.index.Revisions(ctx, index.LocalMember, rev)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, notHere(rev)
	}
	out := make([]conan.RevisionTime, len(stored))
	for i, r := range stored {
		out[i] = conan.RevisionTime{ID: r.ID(), Time: r.Time}
	}
	return out, nil
}

// Snapshot implements conan.Source.
func (s *Store) Snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	note(ctx)
	return s.snapshot(ctx, rev)
}

func (s *Store) snapshot(ctx context.Context, rev conan.Revision) (conan.Snapshot, error) {
	files, changes := s.lists.get(rev)
	if files != nil {
		return files, nil
	}
	if err := s.visible(ctx, rev); err != nil {
		return nil, err
	}
	files, err := s.index.Files(ctx, index.LocalMember, rev)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, notHere(rev)
	}
	s.lists.put(rev, files, changes)
	return files, nil
}

// Open implements conan.Source. Files are always verified. Bytes that the index names and the blob store lost are
// conan.ErrUnavailable.
func (s *Store) Open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	note(ctx)
	files, err := s.snapshot(ctx, rev)
	if err != nil {
		return nil, err
	}
	info, ok := files.Find(name)
	if !ok {
		return nil, fmt.Errorf("%s of %w", name, notHere(rev))
	}
	r, err := blob.OpenSized(ctx, s.blobs, blob.Digest(info.SHA256), info.Size)
	if err == nil {
		return &conan.File{FileInfo: info, ReadCloser: r}, nil
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("open %s of %s: %w", name, rev, err)
	}
	if _, err := s.index.Find(ctx, index.LocalMember, rev); errors.Is(err, conan.ErrNotFound) {
		return nil, notHere(rev) // removed since the list was read
	}
	s.log.Error("stored bytes are missing", zap.Stringer("reference", rev), zap.String("file", name), zap.String("sha256", info.SHA256))
	return nil, fmt.Errorf("%w: the stored bytes of %s of %s are missing; upload it again or restore the blobs from a backup",
		conan.ErrUnavailable, name, rev)
}

// Packages implements conan.Source.
func (s *Store) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) ([]conan.Package, error) {
	note(ctx)
	recipe = recipe.Recipe()
	if _, err := s.index.Find(ctx, index.LocalMember, recipe); err != nil {
		return nil, err
	}
	return s.index.Packages(ctx, index.LocalMember, recipe, idsOnly)
}

// Search implements conan.Source.
func (s *Store) Search(ctx context.Context, p conan.Pattern) ([]conan.Ref, error) {
	note(ctx)
	return s.names.search(ctx, p)
}

// OwnRevisions lists the recipe revisions of ref that were published here, newest first. Adopted copies of an
// upstream's recipe are left out. None is an empty list.
func (s *Store) OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	stored, err := s.index.Revisions(ctx, index.LocalMember, conan.Revision{Ref: ref})
	if err != nil {
		return nil, err
	}
	var own []string
	for _, r := range stored {
		if !r.Adopted {
			own = append(own, r.RRev)
		}
	}
	return own, nil
}

// visible refuses packages of a recipe revision that is not published.
func (s *Store) visible(ctx context.Context, rev conan.Revision) error {
	if !rev.IsPackage() {
		return nil
	}
	_, err := s.index.Find(ctx, index.LocalMember, rev.Recipe())
	return err
}

func notHere(rev conan.Revision) error {
	return fmt.Errorf("%s in %s: %w", rev, index.LocalMember, conan.ErrNotFound)
}
