-- +goose Up
-- A member is a row: a store, whose rows are published and never evicted, or an upstream, whose rows are cached. Tables
-- that named a member by text are copied, children before parents are dropped, so that no cascade fires.
CREATE TABLE members (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('store', 'upstream'))
);
INSERT INTO members (name, kind)
    SELECT member, CASE member WHEN 'local' THEN 'store' ELSE 'upstream' END
    FROM (SELECT member FROM refs UNION SELECT member FROM documents UNION SELECT 'local' FROM stages)
    WHERE member <> '';

DROP TRIGGER blobs_counted;
DROP TRIGGER files_replaced;
DROP TRIGGER files_dropped;
DROP TRIGGER files_named;

CREATE TABLE new_refs (
    id        INTEGER PRIMARY KEY,
    member_id INTEGER NOT NULL REFERENCES members (id),
    name      TEXT NOT NULL,
    version   TEXT NOT NULL,
    usr       TEXT NOT NULL,
    channel   TEXT NOT NULL,
    UNIQUE (member_id, name, version, usr, channel)
);
CREATE TABLE new_revisions (
    id         INTEGER PRIMARY KEY,
    ref_id     INTEGER NOT NULL REFERENCES new_refs (id) ON DELETE CASCADE,
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    time       INTEGER NOT NULL,          -- of publication; strictly increasing per reference in a store
    used       INTEGER NOT NULL,          -- last use, for eviction; the largest integer in a store
    adopted    INTEGER NOT NULL DEFAULT 0,-- 1: a copy of an upstream's recipe made for a package published here
    info       TEXT,                      -- conaninfo.txt of a package, byte for byte; NULL if not known here
    UNIQUE (ref_id, rrev, package_id, prev)
);
CREATE TABLE new_files (
    revision_id INTEGER NOT NULL REFERENCES new_revisions (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    sha256      TEXT    NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (revision_id, name)
) WITHOUT ROWID;
INSERT INTO new_refs SELECT f.id, m.id, f.name, f.version, f.usr, f.channel FROM refs f JOIN members m ON m.name = f.member;
INSERT INTO new_revisions SELECT id, ref_id, rrev, package_id, prev, time, used, adopted, info FROM revisions;
INSERT INTO new_files SELECT revision_id, name, sha256 FROM files;
DROP TABLE files;
DROP TABLE revisions;
DROP TABLE refs;
ALTER TABLE new_refs RENAME TO refs;
ALTER TABLE new_revisions RENAME TO revisions;
ALTER TABLE new_files RENAME TO files;
CREATE INDEX revisions_used ON revisions (used);
CREATE INDEX revisions_recipes ON revisions (ref_id, time) WHERE package_id = '';
CREATE INDEX files_sha256 ON files (sha256);

CREATE TABLE scrub (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    cursor TEXT NOT NULL                  -- the digest that the background scrub last finished
);
INSERT INTO scrub (id, cursor) SELECT 1, CAST(body AS TEXT) FROM documents WHERE member = '' AND kind = 'scrub';

CREATE TABLE new_documents (
    member_id INTEGER NOT NULL REFERENCES members (id),
    kind      TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    fetched   INTEGER NOT NULL,
    PRIMARY KEY (member_id, kind, key)
) WITHOUT ROWID;
INSERT INTO new_documents SELECT m.id, d.kind, d.key, d.body, d.fetched FROM documents d JOIN members m ON m.name = d.member;
DROP TABLE documents;
ALTER TABLE new_documents RENAME TO documents;
CREATE INDEX documents_fetched ON documents (member_id, kind, fetched);

ALTER TABLE stages ADD COLUMN member_id INTEGER REFERENCES members (id);
UPDATE stages SET member_id = (SELECT id FROM members WHERE name = 'local');
CREATE INDEX stages_ref ON stages (member_id, ref);

-- The bytes of all blobs with cached > 0 and kept = 0, as a sum of changes. Each change is a row of its own, so that
-- transactions of several writers do not wait for one row; the sweeper adds them up now and then.
CREATE TABLE new_cached_bytes (
    id    INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL
);
INSERT INTO new_cached_bytes (bytes) SELECT bytes FROM cached_bytes;
DROP TABLE cached_bytes;
ALTER TABLE new_cached_bytes RENAME TO cached_bytes;

-- The member that a row of files belongs to, by its revision.
CREATE VIEW revision_kinds AS
    SELECT r.id AS revision_id, m.kind FROM revisions r JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id;

-- +goose StatementBegin
CREATE TRIGGER files_named AFTER INSERT ON files BEGIN
    UPDATE blobs SET
        cached = cached + ((SELECT kind FROM revision_kinds WHERE revision_id = NEW.revision_id) = 'upstream'),
        kept   = kept   + ((SELECT kind FROM revision_kinds WHERE revision_id = NEW.revision_id) = 'store')
    WHERE sha256 = NEW.sha256;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER files_dropped AFTER DELETE ON files BEGIN
    UPDATE blobs SET
        cached = cached - ((SELECT kind FROM revision_kinds WHERE revision_id = OLD.revision_id) = 'upstream'),
        kept   = kept   - ((SELECT kind FROM revision_kinds WHERE revision_id = OLD.revision_id) = 'store')
    WHERE sha256 = OLD.sha256;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER files_replaced AFTER UPDATE OF sha256 ON files WHEN OLD.sha256 <> NEW.sha256 BEGIN
    UPDATE blobs SET
        cached = cached + CASE sha256 WHEN NEW.sha256 THEN 1 ELSE -1 END * ((SELECT kind FROM revision_kinds WHERE revision_id = NEW.revision_id) = 'upstream'),
        kept   = kept   + CASE sha256 WHEN NEW.sha256 THEN 1 ELSE -1 END * ((SELECT kind FROM revision_kinds WHERE revision_id = NEW.revision_id) = 'store')
    WHERE sha256 IN (OLD.sha256, NEW.sha256);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER blobs_counted AFTER UPDATE OF cached, kept ON blobs
WHEN (OLD.cached > 0 AND OLD.kept = 0) <> (NEW.cached > 0 AND NEW.kept = 0) BEGIN
    INSERT INTO cached_bytes (bytes) VALUES (CASE WHEN NEW.cached > 0 AND NEW.kept = 0 THEN NEW.size ELSE -NEW.size END);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER blobs_counted;
DROP TRIGGER files_replaced;
DROP TRIGGER files_dropped;
DROP TRIGGER files_named;
DROP VIEW revision_kinds;

CREATE TABLE old_refs (
    id      INTEGER PRIMARY KEY,
    member  TEXT NOT NULL,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    usr     TEXT NOT NULL,
    channel TEXT NOT NULL,
    UNIQUE (member, name, version, usr, channel)
);
CREATE TABLE old_revisions (
    id         INTEGER PRIMARY KEY,
    ref_id     INTEGER NOT NULL REFERENCES old_refs (id) ON DELETE CASCADE,
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    time       INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    adopted    INTEGER NOT NULL DEFAULT 0,
    info       TEXT,
    UNIQUE (ref_id, rrev, package_id, prev)
);
CREATE TABLE old_files (
    revision_id INTEGER NOT NULL REFERENCES old_revisions (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    sha256      TEXT    NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (revision_id, name)
) WITHOUT ROWID;
INSERT INTO old_refs SELECT f.id, m.name, f.name, f.version, f.usr, f.channel FROM refs f JOIN members m ON m.id = f.member_id;
INSERT INTO old_revisions SELECT id, ref_id, rrev, package_id, prev, time, used, adopted, info FROM revisions;
INSERT INTO old_files SELECT revision_id, name, sha256 FROM files;
DROP TABLE files;
DROP TABLE revisions;
DROP TABLE refs;
ALTER TABLE old_refs RENAME TO refs;
ALTER TABLE old_revisions RENAME TO revisions;
ALTER TABLE old_files RENAME TO files;
CREATE INDEX revisions_used ON revisions (used);
CREATE INDEX revisions_recipes ON revisions (ref_id, time) WHERE package_id = '';
CREATE INDEX files_sha256 ON files (sha256);

CREATE TABLE old_documents (
    member  TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    body    BLOB    NOT NULL,
    fetched INTEGER NOT NULL,
    PRIMARY KEY (member, kind, key)
) WITHOUT ROWID;
INSERT INTO old_documents SELECT m.name, d.kind, d.key, d.body, d.fetched FROM documents d JOIN members m ON m.id = d.member_id;
INSERT INTO old_documents SELECT '', 'scrub', 'cursor', CAST(cursor AS BLOB), 0 FROM scrub;
DROP TABLE scrub;
DROP TABLE documents;
ALTER TABLE old_documents RENAME TO documents;
CREATE INDEX documents_fetched ON documents (member, kind, fetched);

DROP INDEX stages_ref;
ALTER TABLE stages DROP COLUMN member_id;
DROP TABLE members;

CREATE TABLE old_cached_bytes (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL
);
INSERT INTO old_cached_bytes (id, bytes) SELECT 1, COALESCE(SUM(bytes), 0) FROM cached_bytes;
DROP TABLE cached_bytes;
ALTER TABLE old_cached_bytes RENAME TO cached_bytes;

-- +goose StatementBegin
CREATE TRIGGER files_named AFTER INSERT ON files BEGIN
    UPDATE blobs SET cached = cached + 1 WHERE sha256 = NEW.sha256
        AND (SELECT f.member FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = NEW.revision_id) <> 'local';
    UPDATE blobs SET kept = kept + 1 WHERE sha256 = NEW.sha256
        AND (SELECT f.member FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = NEW.revision_id) = 'local';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER files_dropped AFTER DELETE ON files BEGIN
    UPDATE blobs SET cached = cached - 1 WHERE sha256 = OLD.sha256
        AND (SELECT f.member FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = OLD.revision_id) <> 'local';
    UPDATE blobs SET kept = kept - 1 WHERE sha256 = OLD.sha256
        AND (SELECT f.member FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = OLD.revision_id) = 'local';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER files_replaced AFTER UPDATE OF sha256 ON files WHEN OLD.sha256 <> NEW.sha256 BEGIN
    UPDATE blobs SET cached = cached + CASE sha256 WHEN NEW.sha256 THEN 1 ELSE -1 END WHERE sha256 IN (OLD.sha256, NEW.sha256)
        AND (SELECT f.member FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = NEW.revision_id) <> 'local';
    UPDATE blobs SET kept = kept + CASE sha256 WHEN NEW.sha256 THEN 1 ELSE -1 END WHERE sha256 IN (OLD.sha256, NEW.sha256)
        AND (SELECT f.member FROM revisions r JOIN refs f ON f.id = r.ref_id WHERE r.id = NEW.revision_id) = 'local';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER blobs_counted AFTER UPDATE OF cached, kept ON blobs
WHEN (OLD.cached > 0 AND OLD.kept = 0) <> (NEW.cached > 0 AND NEW.kept = 0) BEGIN
    UPDATE cached_bytes SET bytes = bytes + CASE WHEN NEW.cached > 0 AND NEW.kept = 0 THEN NEW.size ELSE -NEW.size END;
END;
-- +goose StatementEnd
