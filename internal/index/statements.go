package index

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// statements are the prepared statements of a pool. Each text is prepared once and kept, since
// SQLite takes longer to plan the small queries here than to run them; so texts must not be made of
// data.
type statements struct {
	db *sql.DB

	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func newStatements(db *sql.DB) *statements {
	return &statements{db: db, prepared: map[string]*sql.Stmt{}}
}

// find returns the statement of a text, nil if it is not prepared.
func (s *statements) find(query string) *sql.Stmt {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.prepared[query]
}

// prepare returns the statement of a text; it needs a free connection if the text is new.
func (s *statements) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := s.find(query); stmt != nil {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.prepared[query]; other != nil {
		return other, stmt.Close()
	}
	s.prepared[query] = stmt
	return stmt, nil
}

// close closes the statements and the connections.
func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, stmt := range s.prepared {
		err = errors.Join(err, stmt.Close())
	}
	clear(s.prepared)
	return errors.Join(err, s.db.Close())
}

// reader is the pool of read-only connections.
type reader struct{ *statements }

// QueryContext is that of sql.DB.
func (r reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := r.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRowContext is that of sql.DB. A text that cannot be prepared fails in Scan.
func (r reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := r.prepare(ctx, query)
	if err != nil {
		return r.db.QueryRowContext(ctx, query, args...)
	}
	return stmt.QueryRowContext(ctx, args...)
}

// transaction is one of the writer. It uses what is prepared; a new text runs as it is, since the
// only connection is taken, and is noted to be prepared afterwards.
type transaction struct {
	tx         *sql.Tx
	statements *statements
	missing    []string
	changes    []change // of the write that runs, each once
	quotas     *sync.Map
	before     map[MemberID]int64 // bytes of stores with a quota before the write that runs

	told map[change]told // what the feed says of them
	fed  int64           // the number of the last line for the feed; 0: there is none
}

func (t *transaction) statement(ctx context.Context, query string) *sql.Stmt {
	stmt := t.statements.find(query)
	if stmt == nil {
		t.missing = append(t.missing, query)
		return nil
	}
	return t.tx.StmtContext(ctx, stmt)
}

// ExecContext is that of sql.Tx.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return t.tx.ExecContext(ctx, query, args...)
}

// QueryContext is that of sql.Tx.
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return t.tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of sql.Tx.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return t.tx.QueryRowContext(ctx, query, args...)
}
