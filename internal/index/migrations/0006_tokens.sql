-- +goose Up
-- Robot tokens: of a secret only its SHA-256 is kept.
CREATE TABLE tokens (
    name     TEXT    PRIMARY KEY,
    sha256   TEXT    NOT NULL UNIQUE,
    owner    TEXT    NOT NULL,
    rights   TEXT    NOT NULL, -- JSON
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL, -- 0: never
    last_use INTEGER NOT NULL  -- 0: not yet
) WITHOUT ROWID;
CREATE INDEX tokens_owner ON tokens (owner);

-- +goose Down
DROP TABLE tokens;
