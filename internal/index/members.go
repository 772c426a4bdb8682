package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"conanproxy/internal/conan"
)

// Kind is what a member is.
type Kind string

// The kinds of members. Revisions of a store are published and never evicted; those of an upstream
// are cached.
const (
	KindStore    Kind = "store"
	KindUpstream Kind = "upstream"
)

// MemberID is the row id of a member.
type MemberID int64

// Member is a row of members.
type Member struct {
	ID   MemberID
	Name string
	Kind Kind
}

// Member returns the id of the member with that name, which is made if it is not known. A name that
// is known with another kind is conan.ErrConflict.
func (db *DB) Member(ctx context.Context, name string, kind Kind) (MemberID, error) {
	var id MemberID
	err := db.update(ctx, func(ctx context.Context, tx *transaction) error {
		var is Kind
		err := tx.QueryRowContext(ctx, `SELECT id, kind FROM members WHERE name = $1`, name).Scan(&id, &is)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return tx.QueryRowContext(ctx, `INSERT INTO members (name, kind) VALUES ($1, $2) RETURNING id`, name, kind).Scan(&id)
		case err != nil:
			return fmt.Errorf("find member %s: %w", name, err)
		case is != kind:
			return fmt.Errorf("%w: the data knows %q as %s, not as %s", conan.ErrConflict, name, withArticle(is), withArticle(kind))
		}
		return nil
	})
	return id, err
}

func withArticle(k Kind) string {
	if k == KindUpstream {
		return "an upstream"
	}
	return "a " + string(k)
}

// RenameMember gives a member another name, also in the hides and the changes that are about it. A
// name that is not known is conan.ErrNotFound, one that is taken conan.ErrConflict. The caller
// removes the journal before, and has it made anew after, since its lines have the old name.
func (db *DB) RenameMember(ctx context.Context, from, to string) error {
	return db.update(ctx, func(ctx context.Context, tx *transaction) error {
		var id MemberID
		err := tx.QueryRowContext(ctx, `SELECT id FROM members WHERE name = $1`, from).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: the data knows no store or upstream %q", conan.ErrNotFound, from)
		}
		if err != nil {
			return fmt.Errorf("find member %s: %w", from, err)
		}
		taken, err := column[string](ctx, tx, "find member "+to, `SELECT kind FROM members WHERE name = $1`, to)
		if err != nil {
			return err
		}
		if len(taken) > 0 {
			return fmt.Errorf("%w: there is %s %q already", conan.ErrConflict, withArticle(Kind(taken[0])), to)
		}
		for _, query := range []string{
			`UPDATE members SET name = $2 WHERE name = $1`,
			`UPDATE hides SET member = $2 WHERE member = $1`,
			`UPDATE feed SET member = $2 WHERE member = $1`,
		} {
			if _, err := tx.ExecContext(ctx, query, from, to); err != nil {
				return fmt.Errorf("rename member %s: %w", from, err)
			}
		}
		db.members.Delete(id)
		return nil
	})
}

// Members lists all members that the data knows, by name.
func (db *DB) Members(ctx context.Context) ([]Member, error) {
	return collect(ctx, db.read, "list members", func(r scanner) (m Member, err error) {
		return m, r.Scan(&m.ID, &m.Name, &m.Kind)
	}, `SELECT id, name, kind FROM members ORDER BY name`)
}

// member returns the member with an id.
func (db *DB) member(ctx context.Context, q rowQueryer, id MemberID) (Member, error) {
	if m, ok := db.members.Load(id); ok {
		return m.(Member), nil
	}
	m := Member{ID: id}
	if err := q.QueryRowContext(ctx, `SELECT name, kind FROM members WHERE id = $1`, id).Scan(&m.Name, &m.Kind); err != nil {
		return Member{}, fmt.Errorf("find member %d: %w", id, err)
	}
	db.members.Store(id, m)
	return m, nil
}
