-- +goose Up
-- Revisions out of sight: in one member or in all ('' as member), in one view or in all ('' as
-- view). A recipe revision hides its packages.
CREATE TABLE hides (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out again: people end hides by it
    member     TEXT    NOT NULL,
    view       TEXT    NOT NULL,
    ref        TEXT    NOT NULL,          -- name/version[@user[/channel]]
    rrev       TEXT    NOT NULL,
    package_id TEXT    NOT NULL,
    prev       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,          -- that clients are shown
    usr        TEXT    NOT NULL,
    time       INTEGER NOT NULL,
    UNIQUE (member, view, ref, rrev, package_id, prev)
);

-- +goose Down
DROP TABLE hides;
