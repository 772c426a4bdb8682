-- +goose Up
-- The bytes of the files of each store, the same bytes once, as a sum of changes: quotas bound it.
CREATE TABLE store_bytes (
    id        INTEGER PRIMARY KEY,
    member_id INTEGER NOT NULL REFERENCES members (id),
    bytes     INTEGER NOT NULL
);
CREATE INDEX store_bytes_members ON store_bytes (member_id, bytes);
INSERT INTO store_bytes (member_id, bytes)
    SELECT s.member_id, SUM(b.size) FROM (
        SELECT DISTINCT f.member_id, x.sha256 FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id
            JOIN members m ON m.id = f.member_id WHERE m.kind = 'store') s
    JOIN blobs b ON b.sha256 = s.sha256 GROUP BY s.member_id;

-- The stores that have the bytes of each row of files.
CREATE VIEW store_files AS
    SELECT x.sha256, x.revision_id, x.name, f.member_id FROM files x JOIN revisions r ON r.id = x.revision_id
        JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id WHERE m.kind = 'store';

-- +goose StatementBegin
CREATE TRIGGER store_bytes_added AFTER INSERT ON files BEGIN
    INSERT INTO store_bytes (member_id, bytes)
        SELECT n.member_id, b.size FROM store_files n JOIN blobs b ON b.sha256 = n.sha256
        WHERE n.revision_id = NEW.revision_id AND n.name = NEW.name AND NOT EXISTS (SELECT 1 FROM store_files o
            WHERE o.sha256 = NEW.sha256 AND o.member_id = n.member_id AND (o.revision_id <> NEW.revision_id OR o.name <> NEW.name));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER store_bytes_dropped BEFORE DELETE ON files BEGIN
    INSERT INTO store_bytes (member_id, bytes)
        SELECT n.member_id, -b.size FROM store_files n JOIN blobs b ON b.sha256 = n.sha256
        WHERE n.revision_id = OLD.revision_id AND n.name = OLD.name AND NOT EXISTS (SELECT 1 FROM store_files o
            WHERE o.sha256 = OLD.sha256 AND o.member_id = n.member_id AND (o.revision_id <> OLD.revision_id OR o.name <> OLD.name));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER store_bytes_replaced AFTER UPDATE OF sha256 ON files WHEN OLD.sha256 <> NEW.sha256 BEGIN
    INSERT INTO store_bytes (member_id, bytes)
        SELECT n.member_id, b.size * CASE b.sha256 WHEN NEW.sha256 THEN 1 ELSE -1 END FROM store_files n, blobs b
        WHERE n.revision_id = NEW.revision_id AND n.name = NEW.name AND b.sha256 IN (OLD.sha256, NEW.sha256)
            AND NOT EXISTS (SELECT 1 FROM store_files o
                WHERE o.sha256 = b.sha256 AND o.member_id = n.member_id AND (o.revision_id <> NEW.revision_id OR o.name <> NEW.name));
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER store_bytes_replaced;
DROP TRIGGER store_bytes_dropped;
DROP TRIGGER store_bytes_added;
DROP VIEW store_files;
DROP TABLE store_bytes;
