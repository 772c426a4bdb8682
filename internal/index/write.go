package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// writeQueue groups writes that come while another one is being made durable: one fsync then serves
// all of them.
type writeQueue struct {
	mu      sync.Mutex
	waiting []*write
	busy    bool // a goroutine is committing, and will take what waits

	unsynced bool // the connection commits without a sync; used by the committing goroutine only
}

// write is one caller's work; it sees the work of those before it in the same transaction. If it
// fails, only it is undone.
type write struct {
	ctx     context.Context
	fn      func(context.Context, *transaction) error
	durable bool
	silent  bool // it leaves no lines for the journal
	dry     bool // it is undone
	done    chan error

	// after is called after the commit, before the feed tells of the write and before it returns.
	// An error becomes that of the write, which is committed. nil: nothing is to be done.
	after func() error

	journaled bool // it left some
}

// update runs fn in a transaction, which it may share with other writes, and returns when that is
// durable. If fn fails its own changes are undone and its error is returned. fn gets a context that
// does not end, since SQLite undoes a whole transaction when a statement in it is interrupted; a
// ctx that ended before its turn is an error.
func (db *DB) update(ctx context.Context, fn func(context.Context, *transaction) error) error {
	return db.enqueue(&write{ctx: ctx, fn: fn, durable: true, done: make(chan error, 1)})
}

// errDry undoes a dry run.
var errDry = errors.New("this was a dry run")

// attempt is update, or in a dry run only tells how an update would end: it is made with all its
// checks and undone.
func (db *DB) attempt(ctx context.Context, dry bool, fn func(context.Context, *transaction) error) error {
	err := db.enqueue(&write{ctx: ctx, fn: fn, durable: !dry, dry: dry, done: make(chan error, 1)})
	if dry && errors.Is(err, errDry) {
		return nil
	}
	return err
}

// remember is update for what upstream can say again or a client sends again: it returns when the
// write is committed, before the disk has it. A crash of the process loses nothing; a power failure
// can lose the last of these writes, in order, up to the last update. So a write that bytes are
// removed for is never one of these.
func (db *DB) remember(ctx context.Context, fn func(context.Context, *transaction) error) error {
	return db.enqueue(&write{ctx: ctx, fn: fn, done: make(chan error, 1)})
}

func (db *DB) enqueue(w *write) error {
	q := &db.queue
	q.mu.Lock()
	q.waiting = append(q.waiting, w)
	leads := !q.busy
	q.busy = true
	q.mu.Unlock()
	if leads {
		go db.commitWaiting()
	}
	return <-w.done
}

// commitWaiting commits what waits until nothing does.
func (db *DB) commitWaiting() {
	const most = 64
	for {
		q := &db.queue
		q.mu.Lock()
		batch := q.waiting
		if len(batch) > most {
			batch = batch[:most]
		}
		q.waiting = q.waiting[len(batch):]
		if len(batch) == 0 {
			q.waiting, q.busy = nil, false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		db.commit(batch)
	}
}

// commit runs a batch in one transaction and tells every caller how its write ended.
func (db *DB) commit(batch []*write) {
	err := db.syncCommits(slices.ContainsFunc(batch, func(w *write) bool { return w.durable }))
	var sqlTx *sql.Tx
	if err == nil {
		sqlTx, err = db.write.db.BeginTx(context.Background(), nil)
	}
	if err != nil {
		for _, w := range batch {
			w.done <- fmt.Errorf("begin: %w", err)
		}
		return
	}
	defer sqlTx.Rollback() // a no-op after Commit
	tx := &transaction{tx: sqlTx, statements: db.write, quotas: &db.quotas}
	results := make([]error, len(batch))
	var changes []change
	journaled, fed := false, int64(0)
	for i, w := range batch {
		tx.changes, tx.before, tx.told, tx.fed = nil, nil, nil, 0
		if results[i] = db.run(tx, w); results[i] == nil {
			changes = append(changes, tx.changes...)
			journaled, fed = journaled || w.journaled, max(fed, tx.fed)
		}
	}
	var unwritten error
	if err = sqlTx.Commit(); err == nil {
		for _, query := range tx.missing {
			_, _ = db.write.prepare(context.Background(), query) // without it the text runs as it is
		}
		if journaled {
			unwritten = db.writeJournal(context.Background())
		}
	}
	publish(db.changes, changes)
	for i, w := range batch {
		if results[i] == nil {
			results[i] = w.ended(err, unwritten)
		}
	}
	if err == nil {
		db.showFeed(fed)
	}
	for i, w := range batch {
		w.done <- results[i]
	}
}

// ended is how a write ended that was in a commit, which failed with committed, or whose lines for
// the journal were not written because of unwritten.
func (w *write) ended(committed, unwritten error) error {
	if committed != nil {
		return fmt.Errorf("commit: %w", committed)
	}
	if !w.journaled {
		unwritten = nil // the lines are those of other writes
	}
	if w.after == nil {
		return unwritten
	}
	return errors.Join(unwritten, w.after())
}

// run makes one write inside the transaction, so that only this one is undone if it fails.
func (db *DB) run(tx *transaction, w *write) (err error) {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	ctx := context.WithoutCancel(w.ctx)
	if _, err := tx.ExecContext(ctx, `SAVEPOINT one`); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write of the index: %v", p)
		}
		if err != nil {
			_, undo := tx.ExecContext(ctx, `ROLLBACK TO one`)
			err = errors.Join(err, undo)
		}
		if _, release := tx.ExecContext(ctx, `RELEASE one`); release != nil {
			err = errors.Join(err, release)
		}
	}()
	if err := w.fn(ctx, tx); err != nil || w.silent {
		return err
	}
	if err := db.checkQuotas(ctx, tx); err != nil {
		return err
	}
	if w.dry {
		return errDry
	}
	tx.changes = once(tx.changes)
	w.journaled, err = db.journalChanges(ctx, tx)
	return err
}
