// Package localstore is an authoritative store: what was published in it. It takes uploads apart
// from what readers see, publishes a complete set in one transaction as an immutable revision, and
// deletes only when asked to.
package localstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/memory"
)

// Options are the options of New.
type Options struct {
	Name   string          // of the store, in answers and logs; required
	Member index.MemberID  // of the store in the index; required
	Index  *index.DB       // required
	Blobs  blob.Store      // required; shared with the caches and other stores
	Memory *memory.Answers // shared with the caches and other stores; nil: 4 MiB of its own

	// Upstream is asked for recipes that packages are published for and that are not here: what the
	// uploader may read of all upstreams of the moment. Nil means none.
	Upstream func(by conan.Actor) conan.Source

	// CheckSpace tells whether that many more bytes may be stored: nil or conan.ErrNoSpace. Nil
	// means always.
	CheckSpace func(ctx context.Context, bytes int64) error

	// Lease is CheckSpace for bytes that are about to be written: no other upload gets them until
	// the lease is released. Nil means that nothing bounds the space.
	Lease func(ctx context.Context, bytes int64) (Lease, error)

	// DeleteUnused deletes the bytes that nothing names any more, when they are to be gone at once.
	// Nil: a sweep does it later.
	DeleteUnused func(ctx context.Context) error

	// Overwrite lets other bytes under a known revision replace the stored ones. Without it such an
	// upload is conan.ErrDenied.
	Overwrite bool

	TrashFor time.Duration // how long removed revisions can be restored; 0: not at all

	Quota int64 // bytes that the store may have; 0: no bound

	Checks *conan.Checks // shared with the caches and other stores; nil: bounds of its own

	Log          *zap.Logger      // nil logs nothing
	Metrics      *Metrics         // nil counts nothing
	Now          func() time.Time // nil is time.Now
	CheckTimeout time.Duration    // how long one request waits for a check; 0 is 45 s
}

// Store is an authoritative Source and Publisher.
type Store struct {
	name         string
	member       index.MemberID
	index        *index.DB
	blobs        blob.Store
	memory       *memory.Answers
	upstream     func(by conan.Actor) conan.Source // nil: none
	checkSpace   func(context.Context, int64) error
	lease        func(context.Context, int64) (Lease, error)
	deleteUnused func(context.Context) error
	overwrite    atomic.Bool
	trashFor     atomic.Int64 // a time.Duration
	checks       *conan.Checks
	names        names
	log          *zap.Logger
	metrics      *Metrics
	now          func() time.Time
	checkTimeout time.Duration

	uses      uses
	retaining sync.Mutex // held by a retention run

	adoptions singleflight.Group
	outcomes  *lru.Cache[string, outcome] // by stage id

	ctx  context.Context // of the work that requests only watch
	stop context.CancelFunc
	busy sync.WaitGroup

	unsubscribe func() // ends the index's calls of names.note

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
	if o.Name == "" || o.Member == 0 || o.Index == nil || o.Blobs == nil {
		return nil, errors.New("store: a name, a row, an index and a blob store are required")
	}
	const rememberedOutcomes = 1024
	outcomes, err := lru.New[string, outcome](rememberedOutcomes)
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", o.Name, err)
	}
	o.setDefaults()
	s := &Store{
		name: o.Name, member: o.Member, index: o.Index, blobs: o.Blobs, memory: o.Memory, upstream: o.Upstream,
		checkSpace: o.CheckSpace, lease: o.Lease, deleteUnused: o.DeleteUnused, checks: o.Checks, names: names{index: o.Index, member: o.Member},
		log: o.Log.With(zap.String("member", o.Name)), metrics: o.Metrics, now: o.Now, checkTimeout: o.CheckTimeout,
		outcomes: outcomes, works: make(map[string]*work), uses: uses{noted: make(map[conan.Revision]time.Time)},
	}
	s.Set(o.Overwrite, o.TrashFor, o.Quota)
	s.metrics.prime(s.name)
	s.unsubscribe = s.index.Changes().Subscribe(s.names.note)
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

func (o *Options) setDefaults() {
	if o.Memory == nil {
		o.Memory = memory.NewAnswers(4 << 20)
	}
	if o.CheckSpace == nil {
		o.CheckSpace = func(context.Context, int64) error { return nil }
	}
	if o.Lease == nil {
		o.Lease = func(context.Context, int64) (Lease, error) { return unbounded{}, nil }
	}
	if o.DeleteUnused == nil {
		o.DeleteUnused = func(context.Context) error { return nil }
	}
	if o.Checks == nil {
		o.Checks = conan.NewChecks()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CheckTimeout <= 0 {
		o.CheckTimeout = 45 * time.Second
	}
}

// Set replaces Options.Overwrite, Options.TrashFor and Options.Quota.
func (s *Store) Set(overwrite bool, trashFor time.Duration, quota int64) {
	s.overwrite.Store(overwrite)
	s.trashFor.Store(int64(trashFor))
	s.index.SetQuota(s.member, quota)
}

// Close ends the checks that are still running and waits for them, and writes the uses that were
// noted. What was checked stays staged. A second call does nothing.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.unsubscribe()
	s.stop()
	s.busy.Wait()
	if err := s.WriteUses(context.Background()); err != nil {
		s.log.Error("the last uses were not written", zap.Error(err))
	}
}

// answer makes an answer of what was found. It stays true until the reference changes.
func answer[T any](s *Store, value T, err error) (conan.Answer[T], error) {
	if err != nil && !errors.Is(err, conan.ErrNotFound) {
		return conan.Answer[T]{}, err
	}
	return conan.Answer[T]{Value: value, Origin: conan.Origin{Member: s.name, State: conan.StateLocal, Expires: conan.Forever}}, err
}

// Latest implements conan.Source.
func (s *Store) Latest(ctx context.Context, rev conan.Revision) (conan.Answer[conan.RevisionTime], error) {
	list, err := s.revisions(ctx, rev)
	if err != nil {
		return answer(s, conan.RevisionTime{}, err)
	}
	return answer(s, list[0], nil)
}

// Revisions implements conan.Source.
func (s *Store) Revisions(ctx context.Context, rev conan.Revision) (conan.Answer[[]conan.RevisionTime], error) {
	list, err := s.revisions(ctx, rev)
	return answer(s, list, err)
}

func (s *Store) revisions(ctx context.Context, rev conan.Revision) ([]conan.RevisionTime, error) {
	if err := s.visible(ctx, rev); err != nil {
		return nil, err
	}
	stored, err := s.index.Revisions(ctx, s.member, rev)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, s.notHere(rev)
	}
	return revisionTimes(stored), nil
}

func revisionTimes(rows []index.Stored) []conan.RevisionTime {
	out := make([]conan.RevisionTime, len(rows))
	for i, r := range rows {
		out[i] = conan.RevisionTime{ID: r.ID(), Time: r.Time}
	}
	return out
}

// Snapshot implements conan.Source.
func (s *Store) Snapshot(ctx context.Context, rev conan.Revision) (conan.Answer[conan.Snapshot], error) {
	h, err := s.published(ctx, rev)
	return answer(s, h.Files, err)
}

// published is a visible revision with its files. It is remembered, so that a warm download reads
// no rows.
func (s *Store) published(ctx context.Context, rev conan.Revision) (index.Held, error) {
	key := memory.Key{Member: s.name, Kind: "files", Rev: rev}
	if h, ok := memory.Get[index.Held](s.memory, key); ok {
		return h, nil
	}
	stamp := s.index.Changes().Of(rev.Ref)
	if err := s.visible(ctx, rev); err != nil {
		return index.Held{}, err
	}
	h, err := s.index.Held(ctx, s.member, rev)
	if err != nil {
		return index.Held{}, err
	}
	const perFile = 300
	s.memory.Put(key, h, perFile*len(h.Files), stamp)
	return h, nil
}

// Open implements conan.Source. Files are verified, but for those that arrive from a bucket. Bytes
// that the index names and the blob store lost are conan.ErrUnavailable.
func (s *Store) Open(ctx context.Context, rev conan.Revision, name string) (conan.Answer[*conan.File], error) {
	f, err := s.open(ctx, rev, name)
	return answer(s, f, err)
}

func (s *Store) open(ctx context.Context, rev conan.Revision, name string) (*conan.File, error) {
	h, err := s.published(ctx, rev)
	if err != nil {
		return nil, err
	}
	return s.openStored(ctx, rev, h, name, func() error {
		_, err := s.index.Find(ctx, s.member, rev)
		return err
	})
}

// openStored opens a file of a revision. isHere is conan.ErrNotFound if the revision was removed
// since its files were listed.
func (s *Store) openStored(ctx context.Context, rev conan.Revision, h index.Held, name string, isHere func() error) (*conan.File, error) {
	info, ok := h.Files.Find(name)
	if !ok {
		return nil, fmt.Errorf("%s of %w", name, s.notHere(rev))
	}
	r, err := blob.OpenSized(ctx, s.blobs, blob.Digest(info.SHA256), info.Size)
	if err == nil {
		f := index.OpenFile(info, r)
		f.Replaced = h.Replaced[name]
		return f, nil
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("open %s of %s: %w", name, rev, index.Unavailable(err))
	}
	if err := isHere(); errors.Is(err, conan.ErrNotFound) {
		return nil, s.notHere(rev)
	}
	s.log.Error("stored bytes are missing", zap.Stringer("reference", rev), zap.String("file", name), zap.String("sha256", info.SHA256))
	return nil, fmt.Errorf("%w: the stored bytes of %s of %s are missing; upload it again or restore the blobs from a backup",
		conan.ErrUnavailable, name, rev)
}

// Packages implements conan.Source.
func (s *Store) Packages(ctx context.Context, recipe conan.Revision, idsOnly bool) (conan.Answer[[]conan.Package], error) {
	recipe = recipe.Recipe()
	if _, err := s.index.Find(ctx, s.member, recipe); err != nil {
		return answer(s, []conan.Package(nil), err)
	}
	list, err := s.index.Packages(ctx, s.member, recipe, idsOnly)
	return answer(s, list, err)
}

// Search implements conan.Source.
func (s *Store) Search(ctx context.Context, p conan.Pattern) (conan.Answer[[]conan.Ref], error) {
	refs, err := s.names.search(ctx, p)
	return answer(s, refs, err)
}

// OwnRevisions lists the recipe revisions of ref that were published here, newest first. Adopted
// copies of an upstream's recipe are left out. None is an empty list.
func (s *Store) OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	stored, err := s.index.Revisions(ctx, s.member, conan.Revision{Ref: ref})
	if err != nil {
		return nil, err
	}
	return ownRevisions(stored), nil
}

func ownRevisions(recipes []index.Stored) []string {
	var own []string
	for _, r := range recipes {
		if !r.Adopted {
			own = append(own, r.RRev)
		}
	}
	return own
}

// visible refuses packages of a recipe revision that is not published.
func (s *Store) visible(ctx context.Context, rev conan.Revision) error {
	if !rev.IsPackage() {
		return nil
	}
	_, err := s.index.Find(ctx, s.member, rev.Recipe())
	return err
}

func (s *Store) notHere(rev conan.Revision) error {
	return fmt.Errorf("%s in %s: %w", rev, s.name, conan.ErrNotFound)
}
