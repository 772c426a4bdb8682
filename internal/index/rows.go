package index

import (
	"context"
	"database/sql"
	"fmt"
)

// queryer is a reader or a *transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// rowQueryer is a queryer for one row.
type rowQueryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scanner is one row of an answer.
type scanner interface{ Scan(dest ...any) error }

// collect reads every row of a query. what says in errors what was being done.
func collect[T any](ctx context.Context, q queryer, what string, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// column reads the only column of a query.
func column[T any](ctx context.Context, q queryer, what, query string, args ...any) ([]T, error) {
	return collect(ctx, q, what, func(r scanner) (v T, err error) { return v, r.Scan(&v) }, query, args...)
}
