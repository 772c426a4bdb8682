package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrUnavailable is returned while the object store does not do what it is asked. Trying again
// later may help.
var ErrUnavailable = errors.New("the object store is unavailable")

// Object is where the bytes of a blob lie in a bucket. Each upload has a key of its own, so that a
// late removal never takes bytes that were uploaded again.
type Object struct {
	Key    string
	Digest Digest
	Size   int64
}

// newObject makes a key that no other upload has. It begins with the digest, so that lost rows can
// be made again from a listing, and goes on with the time, since a later upload of the same blob
// replaces a damaged one.
func newObject(sums Sums) Object {
	var unique [8]byte
	rand.Read(unique[:]) // never fails
	key := fmt.Sprintf("%s/%s-%012x%x", sums.SHA256[:2], sums.SHA256, time.Now().UnixMilli(), unique)
	return Object{Key: key, Digest: sums.SHA256, Size: sums.Size}
}

// digestOf is the digest in a key of newObject, or is not valid.
func digestOf(key string) Digest {
	_, name, _ := strings.Cut(key, "/")
	digest, _, _ := strings.Cut(name, "-")
	return Digest(digest)
}

// Objects is a bucket. All methods may be called concurrently; they try again for a bounded time.
// Errors match ErrUnavailable, but for a missing object, which is ErrNotFound.
type Objects interface {
	// Put uploads the bytes of r, which have these sums. The bucket compares them.
	Put(ctx context.Context, key string, r io.ReaderAt, sums Sums) error
	// Get opens an object at an offset, which is less than its size unless it is 0. Errors of
	// reading match nothing.
	Get(ctx context.Context, key string, from int64) (io.ReadCloser, error)
	// Remove removes objects; those that are not there count as removed.
	Remove(ctx context.Context, keys []string) error
	// List calls fn for every object with its key, size in bytes, and time of upload.
	List(ctx context.Context, fn func(key string, size int64, uploaded time.Time) error) error
	// RemoveUnfinished removes the parts of uploads that began before a time and did not end.
	RemoveUnfinished(ctx context.Context, before time.Time) error
}

// Keys are the rows about the objects of a bucket. A blob has at most one stored object.
type Keys interface {
	// FindObject returns the stored object of a blob, or ErrNotFound.
	FindObject(ctx context.Context, d Digest) (Object, error)
	// BeginObject writes the row of an upload, before its first byte is sent.
	BeginObject(ctx context.Context, o Object) error
	// CompleteObject makes an upload the stored object of its blob; if that has one already, the
	// upload is dead.
	CompleteObject(ctx context.Context, key string) error
	// DropObject makes the stored object of a blob dead and returns its size in bytes; 0 if there
	// is none, or if a revision names the blob. Objects are removed only after that is durable.
	DropObject(ctx context.Context, d Digest) (int64, error)
	// SetObjectAside ends that an object is the one of its blob, since it is damaged or lost.
	SetObjectAside(ctx context.Context, key string) error
	// AsideObjects lists the objects of a blob that were set aside, the last upload first.
	AsideObjects(ctx context.Context, d Digest) ([]Object, error)
	// LostBlobs lists the blobs that the index knows, that have no stored object, and of which an
	// object was set aside before a time.
	LostBlobs(ctx context.Context, before time.Time) ([]Digest, error)
	// TakeObjectBack makes an object that was set aside the stored one of its blob, unless that has
	// one or no revision names it.
	TakeObjectBack(ctx context.Context, o Object) error
	// EachObject calls fn for each stored object, until it fails.
	EachObject(ctx context.Context, fn func(Object) error) error

	// RetireObjects makes dead: uploads pending since before a time, and objects that were set
	// aside before another.
	RetireObjects(ctx context.Context, pending, aside time.Time) error
	// DeadObjects lists up to limit keys of dead objects.
	DeadObjects(ctx context.Context, limit int) ([]string, error)
	// ForgetObjects deletes the rows of dead objects that were removed.
	ForgetObjects(ctx context.Context, keys []string) error
	// UnknownObjects returns those of the keys that have no row.
	UnknownObjects(ctx context.Context, keys []string) ([]string, error)
	// AdoptObjects makes rows of objects that have none. Of several for a blob the one with the
	// last key is stored.
	AdoptObjects(ctx context.Context, objects []Object) error
	// GiveUpUnnamedObjects notes for deletion the blobs with a stored object from before a time
	// that the index does not know: a process ended between the upload and the row of its revision.
	GiveUpUnnamedObjects(ctx context.Context, before time.Time) error

	// ObjectsListed tells when the bucket was last compared with the rows.
	ObjectsListed(ctx context.Context) (time.Time, error)
	// SetObjectsListed notes that.
	SetObjectsListed(ctx context.Context, at time.Time) error
}
