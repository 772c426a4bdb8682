-- +goose Up
-- The objects of the bucket that holds the blobs, if one does. Each upload has a key of its own.
CREATE TABLE objects (
    key    TEXT PRIMARY KEY,          -- below the prefix of the bucket
    sha256 TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    state  TEXT    NOT NULL,          -- pending: being uploaded; stored; aside: damaged or lost; dead: to be removed
    since  INTEGER NOT NULL           -- when that state began
) WITHOUT ROWID;
CREATE UNIQUE INDEX objects_sha256 ON objects (sha256) WHERE state = 'stored';
CREATE INDEX objects_dead ON objects (since) WHERE state = 'dead';

-- The bucket of this index. No row: the blobs are on the disk.
CREATE TABLE bucket (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    installation TEXT    NOT NULL,    -- stands in the bucket too
    listed       INTEGER NOT NULL     -- when the objects were last compared with the rows
);

-- +goose Down
DROP TABLE bucket;
DROP TABLE objects;
