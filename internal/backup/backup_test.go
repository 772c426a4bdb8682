package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/scrub"
)

// server is what a running server has of a data directory.
type server struct {
	t     *testing.T
	dir   string
	blobs *blob.Disk
	db    *index.DB
	store index.MemberID
}

func open(t *testing.T, dir string) *server {
	t.Helper()
	blobs, err := blob.NewDisk(filepath.Join(dir, "blobs"), blob.DiskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := index.Open(t.Context(), filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.KeepJournal(t.Context(), filepath.Join(dir, "blobs", "journal.jsonl")); err != nil {
		t.Fatal(err)
	}
	store, err := db.Member(t.Context(), "local", index.KindStore)
	if err != nil {
		t.Fatal(err)
	}
	return &server{t, dir, blobs, db, store}
}

func revision(i int) conan.Revision {
	return conan.Revision{Ref: conan.Ref{Name: "lib", Version: fmt.Sprint(i)}, RRev: "r"}
}

// publish stores a revision of two files; bytes first, as a server does.
func (s *server) publish(ctx context.Context, i int) error {
	o := index.PutOptions{Time: time.Unix(int64(i), 0)}
	for _, name := range []string{conan.RecipeFile, conan.ManifestFile} {
		w, err := s.blobs.Create(ctx)
		if err != nil {
			return err
		}
		defer w.Abort()
		if _, err := fmt.Fprintf(w, "%s of %d", name, i); err != nil {
			return err
		}
		o.Files = append(o.Files, index.FileInfo(name, w.Sums()))
		if err := w.Commit(ctx, nil); err != nil {
			return err
		}
	}
	return s.db.PutRevision(ctx, s.store, revision(i), o)
}

// remove removes a revision and its bytes; rows first.
func (s *server) remove(ctx context.Context, i int) error {
	err := s.db.Remove(ctx, s.store, conan.Removal{Revision: revision(i)}, index.RemoveOptions{Now: time.Unix(int64(i), 0)})
	if err != nil {
		return err
	}
	garbage, err := s.db.Garbage(ctx, 1000)
	for _, d := range garbage {
		if err == nil {
			_, err = s.blobs.Delete(ctx, blob.Digest(d), func() (bool, error) { return s.db.ForgetBlob(ctx, d) })
		}
	}
	return err
}

func (s *server) options(to string) Options {
	return Options{From: s.dir, To: to, Index: "index.db", Blobs: "blobs", Journal: "blobs/journal.jsonl", Check: true}
}

// A copy that is taken while packages come and go is whole: every revision that it shows has its
// files.
func TestBackupBesideARunningServer(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	for i := range 50 {
		if err := s.publish(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 50; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(s.publish(ctx, i), s.remove(ctx, i-20)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for round := range 3 {
		to := filepath.Join(t.TempDir(), "copy")
		r, err := Run(ctx, s.options(to))
		if err != nil {
			t.Fatal(err)
		}
		if r.Bad != 0 || r.Blobs < 40 || r.Copied != 0 {
			t.Errorf("round %d: %+v", round, r)
		}
		copied := open(t, to)
		sum, err := scrub.Check(ctx, scrub.Options{Index: copied.db, Blobs: copied.blobs})
		if err != nil || sum.Damaged+sum.Missing+sum.Orphan != 0 {
			t.Errorf("round %d: %+v, %v", round, sum, err)
		}
		refs, err := copied.db.RecipeRefs(ctx, copied.store)
		if err != nil || len(refs) < 20 {
			t.Errorf("round %d: %d references, %v", round, len(refs), err)
		}
		if err := copied.publish(ctx, 1000+round); err != nil {
			t.Errorf("the copy takes no packages: %v", err)
		}
	}
	close(stop)
	wg.Wait()
	if left, err := scrub.Check(ctx, scrub.Options{Index: s.db, Blobs: s.blobs}); err != nil || left.Unhealed != 0 {
		t.Errorf("the original: %+v, %v", left, err)
	}
}

func TestBackupRefusesAFolderThatIsInUse(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := Run(t.Context(), s.options(s.dir)); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("Run = %v, want ErrNotEmpty", err)
	}
	o := s.options(t.TempDir())
	o.From = t.TempDir()
	if _, err := Run(t.Context(), o); !errors.Is(err, index.ErrNoIndex) {
		t.Errorf("Run without an original = %v, want ErrNoIndex", err)
	}
}

// On another filesystem blobs are copied; one that is damaged is told and does not end the backup.
func TestBackupToAnotherFilesystem(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	to, err := os.MkdirTemp("/dev/shm", "backup-test-*")
	if err != nil {
		t.Skip("no other filesystem to write to: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(to) })
	if err := os.Link(filepath.Join(s.dir, "index.db"), filepath.Join(to, "x")); !errors.Is(err, syscall.EXDEV) {
		t.Skip("/dev/shm is no other filesystem: ", err)
	}
	for i := range 3 {
		if err := s.publish(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	var victim string
	if err := filepath.WalkDir(filepath.Join(s.dir, "blobs", "sha256"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			victim = path
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(victim, 0o600), os.WriteFile(victim, []byte("damaged"), 0), os.Chmod(victim, 0o440)); err != nil {
		t.Fatal(err)
	}
	var found []scrub.Finding
	o := s.options(to)
	o.Found = func(f scrub.Finding) { found = append(found, f) }
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Copied != 5 || r.Bad != 1 || len(found) != 1 || found[0].Kind != scrub.Missing {
		t.Errorf("report %+v, found %+v", r, found)
	}
}
