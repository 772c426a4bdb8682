package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/journal"
)

// ErrJournalAhead is returned by KeepJournal if the journal has changes that the index lacks.
var ErrJournalAhead = errors.New("the journal has changes that the index lacks, so the index is an older copy: " +
	"rebuild the index, or remove the journal to go on with this index")

// keptJournal is the journal file that follows the index. A write commits its lines as rows beside
// what it changes, and they are appended to the file before it returns; so a crash in between
// leaves rows that KeepJournal appends.
type keptJournal struct {
	file *journal.Journal // nil: none is kept; used by the committing goroutine

	mu  sync.Mutex
	err error // why rows wait to be appended
}

func (j *keptJournal) failed(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
	return err
}

func (j *keptJournal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

func (j *keptJournal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// KeepJournal has every later change of a store written to the journal at path before the write
// returns. Call it once, right after Open. A journal that is missing or lacks changes which are
// rows no more is made anew from the index. One that has changes which the index lacks is
// ErrJournalAhead.
func (db *DB) KeepJournal(ctx context.Context, path string) error {
	var oldest, newest int64
	err := db.read.QueryRowContext(ctx, `SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM journal`).Scan(&oldest, &newest)
	if err != nil {
		return fmt.Errorf("read the journal's rows: %w", err)
	}
	file, err := journal.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || oldest > file.Last()+1 {
		if file, err = db.makeJournal(ctx, path, newest, file); err != nil {
			return err
		}
	}
	db.journal.file = file
	if file.Last() > newest {
		return fmt.Errorf("%s: %w", path, ErrJournalAhead)
	}
	return db.writeJournal(ctx)
}

// makeJournal replaces the journal, which may be nil, by one with a line for every revision of a
// store.
func (db *DB) makeJournal(ctx context.Context, path string, seq int64, old *journal.Journal) (*journal.Journal, error) {
	if old != nil {
		if err := old.Close(); err != nil {
			return nil, err
		}
	}
	if err := journal.Create(path, db.published(ctx, seq)); err != nil {
		return nil, err
	}
	return journal.Open(path)
}

// published yields a line for every revision of a store, in the order of their rows. All have the
// number of the last change, which they include.
func (db *DB) published(ctx context.Context, seq int64) iter.Seq2[journal.Line, error] {
	return func(yield func(journal.Line, error) bool) {
		for after := int64(0); ; {
			const batch = 500
			rows, err := collect(ctx, db.read, "list published revisions", func(r scanner) (s storedIn, err error) {
				s.Stored, err = scanStored(r, &s.member)
				return s, err
			}, `SELECT `+storedColumns+`, m.name FROM revisions r JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id
				WHERE m.kind = 'store' AND r.id > $1 ORDER BY r.id LIMIT $2`, after, batch)
			for _, row := range rows {
				var files conan.Snapshot
				if files, err = filesOf(ctx, db.read, row.RowID); err != nil {
					break
				}
				line := publishedLine(row.member, Held{Stored: row.Stored, Files: files})
				line.Seq = seq
				if !yield(line, nil) {
					return
				}
				after = row.RowID
			}
			if err != nil {
				yield(journal.Line{}, err)
				return
			}
			if len(rows) < batch {
				return
			}
		}
	}
}

type storedIn struct {
	Stored
	member string
}

// journalChanges leaves a row for each revision of a store that the write changed, and tells
// whether there is one.
func (db *DB) journalChanges(ctx context.Context, tx *transaction) (bool, error) {
	journaled := false
	for _, c := range tx.changes {
		m, err := db.member(ctx, tx, c.member)
		if err != nil {
			return false, err
		}
		if m.Kind != KindStore {
			continue
		}
		journaled = true
		if err := noteChange(ctx, tx, m, c.rev, time.Now()); err != nil {
			return false, fmt.Errorf("journal %s: %w", c.rev, err)
		}
	}
	if !journaled || db.journal.file == nil {
		return journaled, nil
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM journal WHERE seq < $1`, db.journal.file.Last())
	return true, err
}

// noteChange writes what a revision of a store became into the journal, the history and the feed.
func noteChange(ctx context.Context, tx *transaction, m Member, rev conan.Revision, now time.Time) error {
	line := lineOf(journal.Removed, m.Name, rev)
	var published *time.Time
	held, err := held(ctx, tx, m.ID, rev)
	switch {
	case err == nil:
		line = publishedLine(m.Name, held)
		published = &held.Time
	case !errors.Is(err, conan.ErrNotFound):
		return err
	}
	if err := keepHistory(ctx, tx, m.ID, rev, published, now); err != nil {
		return err
	}
	if err := feedChange(ctx, tx, m, rev, published != nil, now); err != nil {
		return err
	}
	if published == nil { // not in a replay, where the trash is empty and the revision may come back
		if err := forgetHistory(ctx, tx, m.ID, rev); err != nil {
			return err
		}
	}
	line.At = now
	text, err := json.Marshal(line)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO journal (line) VALUES ($1)`, string(text))
	}
	return err
}

func lineOf(event journal.Event, store string, rev conan.Revision) journal.Line {
	return journal.Line{
		Event: event, Store: store,
		Ref: rev.Ref.String(), RRev: rev.RRev, PackageID: rev.PackageID, PRev: rev.PRev,
	}
}

func publishedLine(store string, h Held) journal.Line {
	line := lineOf(journal.Published, store, h.Revision)
	line.Time, line.Adopted = h.Time, h.Adopted
	for _, f := range h.Files {
		line.Files = append(line.Files, journal.File(f))
	}
	return line
}

// writeJournal appends the rows that the file lacks.
func (db *DB) writeJournal(ctx context.Context) error {
	if db.journal.file == nil {
		return nil
	}
	lines, err := collect(ctx, db.read, "read the journal's rows", func(r scanner) (l journal.Line, err error) {
		var seq int64
		var text string
		if err := r.Scan(&seq, &text); err != nil {
			return l, err
		}
		err = json.Unmarshal([]byte(text), &l)
		l.Seq = seq
		return l, err
	}, `SELECT seq, line FROM journal WHERE seq > $1 ORDER BY seq`, db.journal.file.Last())
	if err == nil && len(lines) > 0 {
		err = db.journal.file.Append(lines...)
	}
	return db.journal.failed(err)
}

// Change is a line of the journal with what it leaves out.
type Change struct {
	journal.Line
	Info *string // conaninfo.txt of a package; nil if not known
}

// Replay makes the changes that lines of a journal tell in one transaction, in their order, without
// journaling them again. The index counts as having every change up to the last line.
func (db *DB) Replay(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	w := &write{ctx: ctx, durable: true, silent: true, done: make(chan error, 1)}
	w.fn = func(ctx context.Context, tx *transaction) error {
		for _, c := range changes {
			if err := replay(ctx, tx, c); err != nil {
				return fmt.Errorf("replay change %d of the journal: %w", c.Seq, err)
			}
		}
		return setNewest(ctx, tx, changes[len(changes)-1].Line)
	}
	return db.enqueue(w)
}

func replay(ctx context.Context, tx *transaction, line Change) error {
	rev, err := line.Revision()
	if err != nil {
		return err
	}
	var member MemberID
	err = tx.QueryRowContext(ctx, `INSERT INTO members (name, kind) VALUES ($1, 'store')
		ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id`, line.Store).Scan(&member)
	if err != nil {
		return fmt.Errorf("find store %s: %w", line.Store, err)
	}
	if err := removeIfThere(ctx, tx, member, rev); err != nil {
		return err
	}
	if line.Event == journal.Removed {
		return keepHistory(ctx, tx, member, rev, nil, line.At)
	}
	since := line.At
	if since.IsZero() {
		since = line.Time
	}
	if err := keepHistory(ctx, tx, member, rev, &line.Time, since); err != nil {
		return err
	}
	o := PutOptions{Time: line.Time, Adopted: line.Adopted, Info: line.Info}
	for _, f := range line.Files {
		o.Files = append(o.Files, conan.FileInfo(f))
	}
	return putRevision(ctx, tx, member, rev, o, time.Now())
}

// setNewest leaves a line as the only row of the journal, so that the index has its number.
func setNewest(ctx context.Context, tx *transaction, line journal.Line) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM journal`); err != nil {
		return err
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO journal (seq, line) VALUES ($1, $2)`, line.Seq, string(text))
	}
	return err
}

func removeIfThere(ctx context.Context, tx *transaction, member MemberID, rev conan.Revision) error {
	id, err := revisionID(ctx, tx, member, rev)
	if errors.Is(err, conan.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeRevisions(ctx, tx, []int64{id})
}
