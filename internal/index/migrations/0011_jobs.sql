-- +goose Up
-- Calls of the operators' API that run in the background. Who runs a job has raised its fencing
-- number, and each write for it names that number.
CREATE TABLE jobs (
    id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out again: people name jobs by it
    call      TEXT    NOT NULL,
    owner     TEXT    NOT NULL,
    login     TEXT    NOT NULL,           -- the state of the owner's login; a job ends with it
    address   TEXT    NOT NULL,
    arguments TEXT    NOT NULL,           -- JSON
    state     TEXT    NOT NULL,           -- waiting, running, done, failed or cancelled
    progress  TEXT    NOT NULL DEFAULT '',-- JSON
    fence     INTEGER NOT NULL DEFAULT 0, -- how often it was claimed
    changes   INTEGER NOT NULL DEFAULT 0, -- how many audited changes it has made
    created   INTEGER NOT NULL,
    started   INTEGER NOT NULL DEFAULT 0, -- first; 0: not yet
    ended     INTEGER NOT NULL DEFAULT 0, -- 0: not yet
    error     TEXT    NOT NULL DEFAULT '',
    result    TEXT    NOT NULL DEFAULT '' -- JSON
);
CREATE INDEX jobs_states ON jobs (state, id);
CREATE INDEX jobs_owners ON jobs (owner, id);

-- What changed in stores and what was hidden, in order. A reader's cursor is the mark of a row, so
-- the cursor of another index, or of a history that a restored backup has undone, finds no row.
CREATE TABLE feed (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    mark       INTEGER NOT NULL DEFAULT (random()),
    time       INTEGER NOT NULL,
    member     TEXT    NOT NULL DEFAULT '', -- empty: all
    view       TEXT    NOT NULL DEFAULT '', -- of a hide; empty: all
    ref        TEXT    NOT NULL DEFAULT '', -- name/version[@user[/channel]]
    rrev       TEXT    NOT NULL DEFAULT '',
    package_id TEXT    NOT NULL DEFAULT '',
    prev       TEXT    NOT NULL DEFAULT '',
    action     TEXT    NOT NULL,
    files      TEXT    NOT NULL DEFAULT ''  -- JSON: what changed of a revision that was there
);
CREATE INDEX feed_marks ON feed (mark);
-- The newest row is never swept, so there always is a cursor to begin with.
INSERT INTO feed (time, action) VALUES (CAST(strftime('%s', 'now') AS INTEGER) * 1000000, 'begin');

-- +goose Down
DROP TABLE feed;
DROP TABLE jobs;
