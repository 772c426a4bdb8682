-- +goose Up
-- How many rows name a blob: those of caches, and those that are never evicted (of the local store and of stages).
-- The bytes that only caches name are what max_size bounds. Triggers keep them in the same transaction as the rows,
-- whoever writes those; a row of files goes before the revision it belongs to.
ALTER TABLE blobs ADD COLUMN cached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blobs ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;

UPDATE blobs SET
    cached = (SELECT COUNT(*) FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id
              WHERE x.sha256 = blobs.sha256 AND f.member <> 'local'),
    kept   = (SELECT COUNT(*) FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id
              WHERE x.sha256 = blobs.sha256 AND f.member = 'local')
           + (SELECT COUNT(*) FROM stage_files s WHERE s.sha256 = blobs.sha256);

-- One row: the bytes of all blobs with cached > 0 and kept = 0.
CREATE TABLE cached_bytes (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL
);
INSERT INTO cached_bytes (id, bytes) SELECT 1, COALESCE(SUM(size), 0) FROM blobs WHERE cached > 0 AND kept = 0;

CREATE INDEX documents_fetched ON documents (member, kind, fetched);

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
CREATE TRIGGER stage_files_named AFTER INSERT ON stage_files BEGIN
    UPDATE blobs SET kept = kept + 1 WHERE sha256 = NEW.sha256;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER stage_files_dropped AFTER DELETE ON stage_files BEGIN
    UPDATE blobs SET kept = kept - 1 WHERE sha256 = OLD.sha256;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER stage_files_replaced AFTER UPDATE OF sha256 ON stage_files WHEN OLD.sha256 <> NEW.sha256 BEGIN
    UPDATE blobs SET kept = kept - 1 WHERE sha256 = OLD.sha256;
    UPDATE blobs SET kept = kept + 1 WHERE sha256 = NEW.sha256;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER blobs_counted AFTER UPDATE OF cached, kept ON blobs
WHEN (OLD.cached > 0 AND OLD.kept = 0) <> (NEW.cached > 0 AND NEW.kept = 0) BEGIN
    UPDATE cached_bytes SET bytes = bytes + CASE WHEN NEW.cached > 0 AND NEW.kept = 0 THEN NEW.size ELSE -NEW.size END;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER blobs_counted;
DROP TRIGGER stage_files_replaced;
DROP TRIGGER stage_files_dropped;
DROP TRIGGER stage_files_named;
DROP TRIGGER files_replaced;
DROP TRIGGER files_dropped;
DROP TRIGGER files_named;
DROP INDEX documents_fetched;
DROP TABLE cached_bytes;
ALTER TABLE blobs DROP COLUMN kept;
ALTER TABLE blobs DROP COLUMN cached;
