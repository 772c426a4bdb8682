-- +goose Up
-- When the files of a revision of a store were last listed or asked for, or when it was published, promoted or restored
-- if that was later: for retention. Counting begins now. 0 in an upstream's cache, where "used" has it for eviction.
ALTER TABLE revisions ADD COLUMN last_use INTEGER NOT NULL DEFAULT 0;
UPDATE revisions SET last_use = CAST(strftime('%s', 'now') AS INTEGER) * 1000000
    WHERE ref_id IN (SELECT f.id FROM refs f JOIN members m ON m.id = f.member_id WHERE m.kind = 'store');

-- +goose Down
ALTER TABLE revisions DROP COLUMN last_use;
