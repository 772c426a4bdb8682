-- +goose Up
-- What changed in stores and may not be in the journal file yet, one JSON line per change. The newest
-- row stays, so that numbers are never used twice.
CREATE TABLE journal (
    seq  INTEGER PRIMARY KEY,
    line TEXT NOT NULL
);

-- When other bytes replaced those of a file under the same name; 0 if never.
ALTER TABLE files ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE files DROP COLUMN replaced;
DROP TABLE journal;
