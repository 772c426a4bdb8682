-- +goose Up
-- A remembered list of revisions tells when it was whole, and what left it.
UPDATE documents SET body = CAST('{"Listed":' || CAST(body AS TEXT) || ',"Whole":"'
    || strftime('%Y-%m-%dT%H:%M:%SZ', fetched / 1000000, 'unixepoch') || '"}' AS BLOB) WHERE kind = 'revisions';

-- +goose Down
UPDATE documents SET body = CAST(json_extract(CAST(body AS TEXT), '$.Listed') AS BLOB) WHERE kind = 'revisions';
