-- +goose Up
-- Times are Unix microseconds (INTEGER), digests lower-case hex (TEXT). "member" is 'local' or an upstream's name.

-- A reference that a member holds something of.
CREATE TABLE refs (
    id      INTEGER PRIMARY KEY,
    member  TEXT NOT NULL,
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    usr     TEXT NOT NULL,
    channel TEXT NOT NULL,
    UNIQUE (member, name, version, usr, channel)
);

-- One node of the tree of a reference. package_id and prev are '' for a recipe revision.
-- Local rows are published revisions; a cache's rows are revisions of which it holds bytes.
CREATE TABLE revisions (
    id         INTEGER PRIMARY KEY,
    ref_id     INTEGER NOT NULL REFERENCES refs (id) ON DELETE CASCADE,
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    time       INTEGER NOT NULL,          -- of publication; strictly increasing per reference in 'local'
    used       INTEGER NOT NULL,          -- last use, for eviction; the largest integer in 'local'
    adopted    INTEGER NOT NULL DEFAULT 0,-- 1: a copy of an upstream's recipe made for a local package
    info       TEXT,                      -- conaninfo.txt of a package, byte for byte; NULL if not known here
    UNIQUE (ref_id, rrev, package_id, prev)
);
CREATE INDEX revisions_used ON revisions (used);
CREATE INDEX revisions_recipes ON revisions (ref_id, time) WHERE package_id = '';

-- The bytes that exist, as one pass over them told.
CREATE TABLE blobs (
    sha256 TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    sha1   TEXT    NOT NULL,
    md5    TEXT    NOT NULL
) WITHOUT ROWID;
CREATE INDEX blobs_sha1 ON blobs (sha1);

-- The files of a revision. A blob lives while a row here or in stage_files names it.
CREATE TABLE files (
    revision_id INTEGER NOT NULL REFERENCES revisions (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    sha256      TEXT    NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (revision_id, name)
) WITHOUT ROWID;
CREATE INDEX files_sha256 ON files (sha256);

-- What an upstream said and may say differently later: lists of revisions, file lists,
-- package lists, searches. key is made by the cache.
CREATE TABLE documents (
    member  TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    body    BLOB    NOT NULL,
    fetched INTEGER NOT NULL,
    PRIMARY KEY (member, kind, key)
) WITHOUT ROWID;

-- Uploads that are not complete yet.
CREATE TABLE stages (
    id         TEXT PRIMARY KEY,          -- random for a declared set, derived from its key otherwise
    ref        TEXT    NOT NULL,          -- name/version[@user[/channel]]
    rrev       TEXT    NOT NULL,          -- '' if it is to be computed
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    usr        TEXT    NOT NULL,          -- who uploads
    declared   TEXT    NOT NULL,          -- JSON object name → size, '' for an undeclared set
    base       TEXT    NOT NULL,          -- the revision that the client saw, as rrev[#prev], '' if none
    created    INTEGER NOT NULL
);
CREATE TABLE stage_files (
    stage_id TEXT NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    sha256   TEXT NOT NULL REFERENCES blobs (sha256),
    members  TEXT NOT NULL DEFAULT '',    -- JSON list of an archive's members
    PRIMARY KEY (stage_id, name)
);
CREATE INDEX stage_files_sha256 ON stage_files (sha256);

-- Digests that lost a row and may have none left: the sweeper looks again and unlinks.
CREATE TABLE garbage (
    sha256 TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Who deleted what.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY,
    time   INTEGER NOT NULL,
    usr    TEXT    NOT NULL,
    action TEXT    NOT NULL,
    target TEXT    NOT NULL
);

-- +goose Down
DROP TABLE audit;
DROP TABLE garbage;
DROP TABLE stage_files;
DROP TABLE stages;
DROP TABLE documents;
DROP TABLE files;
DROP TABLE blobs;
DROP TABLE revisions;
DROP TABLE refs;
