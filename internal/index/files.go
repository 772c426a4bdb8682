package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"conanproxy/internal/blob"
	"conanproxy/internal/conan"
)

// Held is a revision that a member has, with its files.
type Held struct {
	Stored
	Files    conan.Snapshot       // sorted, every Size and digest known
	Replaced map[string]time.Time // when other bytes replaced those of a file; of those files only
}

// FileInfo describes stored bytes under a file name.
func FileInfo(name string, s blob.Sums) conan.FileInfo {
	return conan.FileInfo{Name: name, Size: s.Size, MD5: s.MD5, SHA1: s.SHA1, SHA256: string(s.SHA256)}
}

// OpenFile is a stored file that was opened. One whose bytes arrive yet is to be waited for.
func OpenFile(info conan.FileInfo, r blob.Reader) *conan.File {
	f := &conan.File{FileInfo: info, ReadCloser: r}
	if a, ok := r.(blob.Arriving); ok {
		f.Wait = func(ctx context.Context) (*conan.File, error) {
			r, err := a.Wait(ctx)
			if err != nil {
				return nil, Unavailable(err)
			}
			return OpenFile(info, r), nil
		}
	}
	return f
}

// Unavailable makes the error of an object store that does not answer match conan.ErrUnavailable.
// Another error stays as it is.
func Unavailable(err error) error {
	if !errors.Is(err, blob.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", conan.ErrUnavailable, err)
}

const fileColumns = `x.name, b.size, b.md5, b.sha1, b.sha256`

// Files lists the files of a pinned revision that the member has, sorted; empty if the revision is
// not there.
func (db *DB) Files(ctx context.Context, member MemberID, rev conan.Revision) (conan.Snapshot, error) {
	return collect(ctx, db.read, "read files of "+rev.String(), scanFile, `SELECT `+fileColumns+`
		FROM refs f JOIN revisions r ON r.ref_id = f.id JOIN files x ON x.revision_id = r.id JOIN blobs b ON b.sha256 = x.sha256
		WHERE f.member_id = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8 ORDER BY x.name`, revisionArgs(member, rev)...)
}

func scanFile(r scanner) (f conan.FileInfo, err error) {
	return f, r.Scan(&f.Name, &f.Size, &f.MD5, &f.SHA1, &f.SHA256)
}

// Held returns the row of a pinned revision with its files, or conan.ErrNotFound.
func (db *DB) Held(ctx context.Context, member MemberID, rev conan.Revision) (Held, error) {
	return held(ctx, db.read, member, rev)
}

func held(ctx context.Context, q queryer, member MemberID, rev conan.Revision) (Held, error) {
	h := Held{Stored: Stored{Revision: rev}}
	rows, err := collect(ctx, q, "read "+rev.String(), func(r scanner) (_ struct{}, err error) {
		var micros int64
		var name, md5, sha1, sha256 sql.NullString
		var size, replaced sql.NullInt64
		err = r.Scan(&h.RowID, &micros, &h.Adopted, &name, &size, &md5, &sha1, &sha256, &replaced)
		h.Time = time.UnixMicro(micros).UTC()
		if name.Valid {
			h.Files = append(h.Files, conan.FileInfo{Name: name.String, Size: size.Int64, MD5: md5.String, SHA1: sha1.String, SHA256: sha256.String})
		}
		if replaced.Int64 != 0 {
			h.setReplaced(name.String, time.UnixMicro(replaced.Int64).UTC())
		}
		return struct{}{}, err
	}, `SELECT r.id, r.time, r.adopted, `+fileColumns+`, x.replaced
		FROM refs f JOIN revisions r ON r.ref_id = f.id LEFT JOIN files x ON x.revision_id = r.id LEFT JOIN blobs b ON b.sha256 = x.sha256
		WHERE f.member_id = $1 AND f.name = $2 AND f.version = $3 AND f.usr = $4 AND f.channel = $5
		AND r.rrev = $6 AND `+samePackage+` AND r.prev = $8 ORDER BY x.name`, revisionArgs(member, rev)...)
	if err != nil {
		return Held{}, err
	}
	if len(rows) == 0 {
		return Held{}, fmt.Errorf("%s: %w", rev, conan.ErrNotFound)
	}
	return h, nil
}

func (h *Held) setReplaced(name string, t time.Time) {
	if h.Replaced == nil {
		h.Replaced = make(map[string]time.Time)
	}
	h.Replaced[name] = t
}

// filesOf lists the files of a revision by its row id.
func filesOf(ctx context.Context, q queryer, revisionID int64) (conan.Snapshot, error) {
	return collect(ctx, q, "read files", scanFile, `SELECT `+fileColumns+`
		FROM files x JOIN blobs b ON b.sha256 = x.sha256 WHERE x.revision_id = $1 ORDER BY x.name`, revisionID)
}

// fileWrite is where files are recorded.
type fileWrite struct {
	revisionID int64
	now        time.Time
	replaces   bool // files under new names replace others
}

// put names a blob in a revision; the blob it replaces becomes garbage.
func (w fileWrite) put(ctx context.Context, tx *transaction, f conan.FileInfo) error {
	if err := putBlob(ctx, tx, f); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO garbage (sha256) SELECT sha256 FROM files
		WHERE revision_id = $1 AND name = $2 AND sha256 <> $3 ON CONFLICT DO NOTHING`, w.revisionID, f.Name, f.SHA256)
	if err != nil {
		return err
	}
	var replaced int64
	if w.replaces {
		replaced = w.now.UnixMicro()
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO files (revision_id, name, sha256, replaced) VALUES ($1, $2, $3, $4)
		ON CONFLICT (revision_id, name) DO UPDATE SET sha256 = excluded.sha256,
		replaced = CASE WHEN files.sha256 = excluded.sha256 THEN files.replaced ELSE $5 END`,
		w.revisionID, f.Name, f.SHA256, replaced, w.now.UnixMicro())
	return err
}

// FileRow is a file of a revision that a member has.
type FileRow struct {
	Member Member
	conan.Revision
	Name string
}

// FilesOf lists the files that name a blob.
func (db *DB) FilesOf(ctx context.Context, sha256 string) ([]FileRow, error) {
	return collect(ctx, db.read, "list files of blob "+sha256, func(r scanner) (f FileRow, err error) {
		return f, r.Scan(&f.Member.ID, &f.Member.Name, &f.Member.Kind, &f.Ref.Name, &f.Version, &f.User, &f.Channel, &f.RRev, &f.PackageID, &f.PRev, &f.Name)
	}, `SELECT m.id, m.name, m.kind, f.name, f.version, f.usr, f.channel, r.rrev, r.package_id, r.prev, x.name
		FROM files x JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id JOIN members m ON m.id = f.member_id
		WHERE x.sha256 = $1 ORDER BY m.name, r.id, x.name`, sha256)
}

// Holder is a blob with the members and references whose revisions name it.
type Holder struct {
	conan.FileInfo // Name is empty
	In             []MemberRef
}

// MemberRef is a reference in a member.
type MemberRef struct {
	Member MemberID
	conan.Ref
}

// HoldersBySHA1 lists the blobs with that sha1 which a revision of any member names, each with the
// references of those revisions.
func (db *DB) HoldersBySHA1(ctx context.Context, sha1 string) ([]Holder, error) {
	var out []Holder
	_, err := collect(ctx, db.read, "look for sha1", func(r scanner) (_ struct{}, err error) {
		var info conan.FileInfo
		var in MemberRef
		err = r.Scan(&info.Size, &info.MD5, &info.SHA1, &info.SHA256, &in.Member, &in.Name, &in.Version, &in.User, &in.Channel)
		if n := len(out); n == 0 || out[n-1].SHA256 != info.SHA256 {
			out = append(out, Holder{FileInfo: info})
		}
		last := &out[len(out)-1]
		last.In = append(last.In, in)
		return struct{}{}, err
	}, `SELECT DISTINCT b.size, b.md5, b.sha1, b.sha256, f.member_id, f.name, f.version, f.usr, f.channel
		FROM blobs b JOIN files x ON x.sha256 = b.sha256 JOIN revisions r ON r.id = x.revision_id JOIN refs f ON f.id = r.ref_id
		WHERE b.sha1 = $1 ORDER BY b.sha256, f.member_id, f.name, f.version, f.usr, f.channel`, sha1)
	return out, err
}
