-- +goose Up
-- Objects that were set aside are looked for by their blob.
CREATE INDEX objects_aside ON objects (sha256) WHERE state = 'aside';

-- +goose Down
DROP INDEX objects_aside;
