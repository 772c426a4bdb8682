package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/conan"
)

// Token is a robot token. Its secret is kept nowhere.
type Token struct {
	Name    string
	SHA256  string // of the secret, in hex
	Owner   string
	Rights  string // JSON; the index does not look into it
	Created time.Time
	Expires time.Time // zero: never
	LastUse time.Time // zero: not yet
}

// MostTokens is how many tokens one owner can have.
const MostTokens = 200

// CreateToken adds a token, and the line of the audit. A name that is taken, and one token more
// than MostTokens, are conan.ErrConflict.
func (db *DB) CreateToken(ctx context.Context, t Token, by conan.Actor) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		var taken bool
		var owned int
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tokens WHERE name = $1), (SELECT COUNT(*) FROM tokens WHERE owner = $2)`,
			t.Name, t.Owner).Scan(&taken, &owned)
		switch {
		case err != nil:
			return fmt.Errorf("find token %s: %w", t.Name, err)
		case taken:
			return fmt.Errorf("%w: there is a token %q already", conan.ErrConflict, t.Name)
		case owned >= MostTokens:
			return fmt.Errorf("%w: user %q has %d tokens already; revoke some", conan.ErrConflict, t.Owner, owned)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO tokens (name, sha256, owner, rights, created, expires, last_use) VALUES ($1, $2, $3, $4, $5, $6, 0)`,
			t.Name, t.SHA256, t.Owner, t.Rights, t.Created.UnixMicro(), microsOrZero(t.Expires))
		if err != nil {
			return fmt.Errorf("write token %s: %w", t.Name, err)
		}
		return writeAudit(ctx, tx, Audit{By: by, Action: ActionTokenCreate, Target: t.Name}, t.Created)
	})
}

// RevokeToken removes a token of the owner, or of anyone if owner is empty, and writes the line of
// the audit. It is conan.ErrNotFound if there is none.
func (db *DB) RevokeToken(ctx context.Context, name, owner string, by conan.Actor, now time.Time) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM tokens WHERE name = $1 AND ($2 = '' OR owner = $2)`, name, owner)
		if err != nil {
			return fmt.Errorf("revoke token %s: %w", name, err)
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("%w: there is no token %.64q", conan.ErrNotFound, name))
		}
		return writeAudit(ctx, tx, Audit{By: by, Action: ActionTokenRevoke, Target: name}, now)
	})
}

const tokenColumns = `SELECT name, sha256, owner, rights, created, expires, last_use FROM tokens `

// Tokens lists the tokens of an owner, or all if owner is empty, by name.
func (db *DB) Tokens(ctx context.Context, owner string) ([]Token, error) {
	if owner == "" {
		return collect(ctx, db.read, "list tokens", scanToken, tokenColumns+`ORDER BY name`)
	}
	return collect(ctx, db.read, "list tokens", scanToken, tokenColumns+`WHERE owner = $1 ORDER BY name`, owner)
}

// TokenNamed returns the token of a name, or conan.ErrNotFound.
func (db *DB) TokenNamed(ctx context.Context, name string) (Token, error) {
	return db.token(ctx, tokenColumns+`WHERE name = $1`, name)
}

// TokenOf returns the token whose secret has that SHA-256, in hex, or conan.ErrNotFound.
func (db *DB) TokenOf(ctx context.Context, sha256 string) (Token, error) {
	return db.token(ctx, tokenColumns+`WHERE sha256 = $1`, sha256)
}

func (db *DB) token(ctx context.Context, query string, arg any) (Token, error) {
	t, err := scanToken(db.read.QueryRowContext(ctx, query, arg))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Token{}, fmt.Errorf("%w: there is no such token", conan.ErrNotFound)
	case err != nil:
		return Token{}, fmt.Errorf("find a token: %w", err)
	}
	return t, nil
}

// TokensUsed records when tokens were last used.
func (db *DB) TokensUsed(ctx context.Context, used map[string]time.Time) error {
	return db.remember(ctx, func(ctx context.Context, tx *transaction) error {
		for name, at := range used {
			if _, err := tx.ExecContext(ctx, `UPDATE tokens SET last_use = $1 WHERE name = $2 AND last_use < $1`, at.UnixMicro(), name); err != nil {
				return fmt.Errorf("record the use of token %s: %w", name, err)
			}
		}
		return nil
	})
}

func scanToken(r scanner) (t Token, err error) {
	var created, expires, lastUse int64
	err = r.Scan(&t.Name, &t.SHA256, &t.Owner, &t.Rights, &created, &expires, &lastUse)
	t.Created, t.Expires, t.LastUse = time.UnixMicro(created).UTC(), timeOrZero(expires), timeOrZero(lastUse)
	return t, err
}

// microsOrZero is a time in microseconds; the zero time is 0.
func microsOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOrZero is the inverse of microsOrZero.
func timeOrZero(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
