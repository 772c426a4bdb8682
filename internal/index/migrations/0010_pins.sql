-- +goose Up
-- Marks that keep revisions: of an upstream from eviction, of a store from removal. They name revisions and not their
-- rows, which may go and come back. A cached revision with a pin has the largest integer as its last use.
CREATE TABLE pins (
    id         INTEGER PRIMARY KEY,
    member_id  INTEGER NOT NULL REFERENCES members (id),
    name       TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    usr        TEXT    NOT NULL,
    channel    TEXT    NOT NULL,
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    owner      TEXT    NOT NULL,          -- a user, or 'mirror:' and the name of a mirror
    time       INTEGER NOT NULL
);
CREATE UNIQUE INDEX pins_revisions ON pins (member_id, name, version, usr, channel, rrev, package_id, prev, owner);

-- +goose Down
UPDATE revisions SET used = CAST(strftime('%s', 'now') AS INTEGER) * 1000000
    WHERE id IN (SELECT revision_id FROM revision_kinds WHERE kind = 'upstream') AND used = 9223372036854775807;
DROP TABLE pins;
