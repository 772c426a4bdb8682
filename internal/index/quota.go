package index

import (
	"context"
	"fmt"

	"conanproxy/internal/conan"
)

// SetQuota bounds the bytes of a store: a write that would add some above it is conan.ErrDenied. 0
// is no bound. It does not outlive the DB.
func (db *DB) SetQuota(store MemberID, bytes int64) {
	if bytes > 0 {
		db.quotas.Store(store, bytes)
	} else {
		db.quotas.Delete(store)
	}
}

// Quota is what SetQuota set; 0: no bound.
func (db *DB) Quota(store MemberID) int64 {
	bytes, bounded := db.quotas.Load(store)
	if !bounded {
		return 0
	}
	return bytes.(int64)
}

// CheckQuota tells early whether a store may get so many bytes more: nil or conan.ErrDenied. Less
// than one byte, or a number that is not known, is taken for one. It cannot tell that the store has
// some of these bytes already; the write that adds them can.
func (db *DB) CheckQuota(ctx context.Context, store MemberID, more int64) error {
	quota, bounded := db.quotas.Load(store)
	if !bounded {
		return nil
	}
	bytes, err := storeBytes(ctx, db.read, store)
	if bytes += max(more, 1); err != nil || bytes <= quota.(int64) {
		return err
	}
	return db.overQuota(ctx, db.read, store, bytes, quota.(int64))
}

// StoreBytes is the size of the files of a store, the same bytes once, without its trash. It is a
// sum of few rows, which FoldBytes keeps few.
func (db *DB) StoreBytes(ctx context.Context, store MemberID) (int64, error) {
	return storeBytes(ctx, db.read, store)
}

func storeBytes(ctx context.Context, q rowQueryer, store MemberID) (bytes int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT COALESCE(SUM(bytes), 0) FROM store_bytes WHERE member_id = $1`, store).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("read the bytes of a store: %w", err)
	}
	return bytes, nil
}

// noteBytes keeps how many bytes a store with a quota has before the write that runs adds some.
func (t *transaction) noteBytes(ctx context.Context, member MemberID) error {
	_, bounded := t.quotas.Load(member)
	if _, noted := t.before[member]; noted || !bounded {
		return nil
	}
	bytes, err := storeBytes(ctx, t, member)
	if err != nil {
		return err
	}
	if t.before == nil {
		t.before = make(map[MemberID]int64)
	}
	t.before[member] = bytes
	return nil
}

// checkQuotas refuses the write that ran if it added bytes to a store above its quota.
func (db *DB) checkQuotas(ctx context.Context, tx *transaction) error {
	for store, before := range tx.before {
		bytes, err := storeBytes(ctx, tx, store)
		if err != nil {
			return err
		}
		if quota, bounded := db.quotas.Load(store); bounded && bytes > before && bytes > quota.(int64) {
			return db.overQuota(ctx, tx, store, bytes, quota.(int64))
		}
	}
	return nil
}

func (db *DB) overQuota(ctx context.Context, q rowQueryer, store MemberID, bytes, quota int64) error {
	m, err := db.member(ctx, q, store)
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: the store %q has a quota of %d bytes, and would have %d with this; remove something there, or raise its quota",
		conan.ErrDenied, m.Name, quota, bytes)
}

// foldStoreBytes adds the changes of StoreBytes up in one row for each store.
func foldStoreBytes(ctx context.Context, tx *transaction) error {
	type sum struct {
		store MemberID
		bytes int64
	}
	sums, err := collect(ctx, tx, "add up the bytes of stores", func(r scanner) (s sum, err error) {
		return s, r.Scan(&s.store, &s.bytes)
	}, `SELECT member_id, SUM(bytes) FROM store_bytes GROUP BY member_id`)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM store_bytes`); err != nil {
		return err
	}
	for _, s := range sums {
		if _, err := tx.ExecContext(ctx, `INSERT INTO store_bytes (member_id, bytes) VALUES ($1, $2)`, s.store, s.bytes); err != nil {
			return err
		}
	}
	return nil
}
