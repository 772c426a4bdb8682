-- +goose Up
ALTER TABLE revisions ADD COLUMN uploader TEXT NOT NULL DEFAULT ''; -- who published it

-- When a revision of a store was visible, and with which time of publication. until is NULL while it is.
CREATE TABLE history (
    id         INTEGER PRIMARY KEY,
    member_id  INTEGER NOT NULL REFERENCES members (id),
    name       TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    usr        TEXT    NOT NULL,
    channel    TEXT    NOT NULL,
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    time       INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    until      INTEGER
);
CREATE INDEX history_refs ON history (member_id, name, version, usr, channel, rrev, package_id, prev);
INSERT INTO history (member_id, name, version, usr, channel, rrev, package_id, prev, time, since)
    SELECT f.member_id, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, r.time, r.time
    FROM revisions r JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id WHERE m.kind = 'store'
    ORDER BY r.id;

-- What was removed and can be restored. What one removal took is restored by one.
CREATE TABLE removals (
    id        INTEGER PRIMARY KEY,
    member_id INTEGER NOT NULL REFERENCES members (id),
    time      INTEGER NOT NULL,
    usr       TEXT    NOT NULL
);
CREATE INDEX removals_time ON removals (time);
CREATE INDEX removals_members ON removals (member_id, time);
CREATE TABLE trash (
    id         INTEGER PRIMARY KEY,
    removal_id INTEGER NOT NULL REFERENCES removals (id) ON DELETE CASCADE,
    member_id  INTEGER NOT NULL REFERENCES members (id),
    name       TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    usr        TEXT    NOT NULL,
    channel    TEXT    NOT NULL,
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    time       INTEGER NOT NULL,
    adopted    INTEGER NOT NULL,
    info       TEXT,
    uploader   TEXT    NOT NULL
);
CREATE INDEX trash_removals ON trash (removal_id);
CREATE INDEX trash_refs ON trash (member_id, name, version, usr, channel);
CREATE TABLE trash_files (
    trash_id INTEGER NOT NULL REFERENCES trash (id) ON DELETE CASCADE,
    name     TEXT    NOT NULL,
    sha256   TEXT    NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (trash_id, name)
) WITHOUT ROWID;
CREATE INDEX trash_files_sha256 ON trash_files (sha256);

-- +goose StatementBegin
CREATE TRIGGER trash_files_named AFTER INSERT ON trash_files BEGIN
    UPDATE blobs SET kept = kept + 1 WHERE sha256 = NEW.sha256;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER trash_files_dropped AFTER DELETE ON trash_files BEGIN
    UPDATE blobs SET kept = kept - 1 WHERE sha256 = OLD.sha256;
    INSERT INTO garbage (sha256) VALUES (OLD.sha256) ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

ALTER TABLE stages ADD COLUMN address TEXT NOT NULL DEFAULT ''; -- of the client that uploads

ALTER TABLE audit ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN member  TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_time ON audit (time);

-- +goose Down
DROP INDEX audit_time;
ALTER TABLE audit DROP COLUMN member;
ALTER TABLE audit DROP COLUMN address;
ALTER TABLE stages DROP COLUMN address;
DROP TABLE trash_files;
DROP TABLE trash;
DROP TABLE removals;
DROP TABLE history;
ALTER TABLE revisions DROP COLUMN uploader;
