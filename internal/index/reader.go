package index

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// reader is the pool of read-only connections. It prepares each text of a query once and uses it again: SQLite takes
// longer to plan the small queries here than to run them.
type reader struct {
	*sql.DB

	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

func newReader(db *sql.DB) *reader {
	return &reader{DB: db, prepared: map[string]*sql.Stmt{}}
}

// QueryContext is that of sql.DB. Texts must not be made of data: each is kept.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRowContext is that of sql.DB. A text that cannot be prepared fails in Scan.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := r.statement(ctx, query)
	if err != nil {
		return r.DB.QueryRowContext(ctx, query, args...)
	}
	return stmt.QueryRowContext(ctx, args...)
}

func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.RLock()
	stmt := r.prepared[query]
	r.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := r.DB.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.prepared[query]; other != nil {
		return other, stmt.Close()
	}
	r.prepared[query] = stmt
	return stmt, nil
}

// Close closes the statements and the connections.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, stmt := range r.prepared {
		err = errors.Join(err, stmt.Close())
	}
	clear(r.prepared)
	return errors.Join(err, r.DB.Close())
}
