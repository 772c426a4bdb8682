// Package bucket is the blob.Objects of an S3 server.
package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"go.uber.org/zap"

	"conanproxy/internal/blob"
)

// Options are the arguments of Open.
type Options struct {
	Endpoint  string // http[s]://host[:port]
	Bucket    string
	Prefix    string // of all keys, without a slash at its end; may be empty
	Region    string // empty: us-east-1, which servers of one's own take
	AccessKey string
	// Secret returns the secret key. It is asked again and again, so that the key can be changed
	// while the server runs. It is never logged.
	Secret func() (string, error)

	PartSize int64 // bytes from which an upload is sent in parts of that size; 0: 64 MiB
	// Silence is how long a connection may pass no byte in either direction while it is used; 0: 15
	// seconds. There is no limit for a whole transfer.
	Silence time.Duration
	Log     *zap.Logger // nil: none
}

// Bucket is one bucket, or what is below a prefix of it.
type Bucket struct {
	core     *minio.Core
	name     string
	prefix   string // empty or ends with a slash
	partSize int64
	log      *zap.Logger
}

var _ blob.Objects = (*Bucket)(nil)

const (
	// tries is how often a request is sent before it fails, with pauses that grow up to a second.
	tries = 5
	// opening is how long a request for an object may take to its first byte, over all tries.
	opening = 25 * time.Second
)

// Open makes a client of the bucket; nothing is sent yet.
func Open(o Options) (*Bucket, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint of the bucket: %w", err)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.PartSize == 0 {
		o.PartSize = 64 << 20
	}
	if o.Silence == 0 {
		o.Silence = 15 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.New(&provider{accessKey: o.AccessKey, secret: o.Secret}), Secure: u.Scheme == "https",
		Region: o.Region, MaxRetries: tries, Transport: newTransport(o.Silence),
	})
	if err != nil {
		return nil, fmt.Errorf("the bucket %s: %w", o.Bucket, err)
	}
	b := &Bucket{core: core, name: o.Bucket, partSize: o.PartSize, log: o.Log}
	if o.Prefix != "" {
		b.prefix = o.Prefix + "/"
	}
	return b, nil
}

// object is the whole key of an object, whose key is below the folder of objects.
func (b *Bucket) object(key string) string { return b.objects() + key }

func (b *Bucket) objects() string { return b.prefix + "objects/" }

// Get implements blob.Objects.
func (b *Bucket) Get(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if from > 0 {
		if err := o.SetRange(from, 0); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(opening, func() { cancel(context.DeadlineExceeded) })
	body, _, _, err := b.core.GetObject(ctx, b.name, b.object(key), o)
	if !timer.Stop() {
		err = errors.Join(context.DeadlineExceeded, err)
	}
	if err != nil {
		defer cancel(nil)
		if body != nil {
			body.Close()
		}
		return nil, b.failure(ctx, "read", key, err)
	}
	return &opened{ReadCloser: body, cancel: cancel}, nil
}

// opened ends the context of its request when it is closed.
type opened struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (o *opened) Close() error {
	defer o.cancel(nil)
	return o.ReadCloser.Close()
}

// Remove implements blob.Objects.
func (b *Bucket) Remove(ctx context.Context, keys []string) error {
	objects := make(chan minio.ObjectInfo, len(keys))
	for _, key := range keys {
		objects <- minio.ObjectInfo{Key: b.object(key)}
	}
	close(objects)
	var failed error
	for e := range b.core.RemoveObjects(ctx, b.name, objects, minio.RemoveObjectsOptions{}) {
		if err := b.failure(ctx, "remove", e.ObjectName, e.Err); !errors.Is(err, blob.ErrNotFound) {
			failed = err
		}
	}
	return failed
}

// List implements blob.Objects.
func (b *Bucket) List(ctx context.Context, fn func(key string, size int64, uploaded time.Time) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.objects(), Recursive: true}) {
		if o.Err != nil {
			return b.failure(ctx, "list", b.prefix, o.Err)
		}
		if err := fn(strings.TrimPrefix(o.Key, b.objects()), o.Size, o.LastModified); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Empty tells whether there is no object of a blob.
func (b *Bucket) Empty(ctx context.Context) (bool, error) {
	found := errors.New("found")
	err := b.List(ctx, func(string, int64, time.Time) error { return found })
	if errors.Is(err, found) {
		return false, nil
	}
	return err == nil, err
}

// MarkerKey is the object that says whose bucket it is.
func (b *Bucket) MarkerKey() string { return b.prefix + "conanproxy" }

// Marker returns the id of the installation whose bucket it is, empty if no installation has
// claimed it.
func (b *Bucket) Marker(ctx context.Context) (string, error) {
	const longest = 1 << 10
	body, _, _, err := b.core.GetObject(ctx, b.name, b.MarkerKey(), minio.GetObjectOptions{})
	if err != nil {
		if err = b.failure(ctx, "read", b.MarkerKey(), err); errors.Is(err, blob.ErrNotFound) {
			err = nil
		}
		return "", err
	}
	defer body.Close()
	id, err := io.ReadAll(io.LimitReader(body, longest))
	if err != nil {
		return "", b.failure(ctx, "read", b.MarkerKey(), err)
	}
	return strings.TrimSpace(string(id)), nil
}

// Mark makes it the bucket of an installation.
func (b *Bucket) Mark(ctx context.Context, id string) error {
	text := []byte(id + "\n")
	h := blob.NewHasher()
	h.Write(text)
	return b.putWhole(ctx, b.MarkerKey(), bytes.NewReader(text), h.Sums())
}
