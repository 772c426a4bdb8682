package bucket

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"conanproxy/internal/blob"
)

// Put implements blob.Objects. The server compares the bytes, or each part of a large object, with
// their md5, and with their sha256, which is signed.
func (b *Bucket) Put(ctx context.Context, key string, r io.ReaderAt, sums blob.Sums) error {
	if sums.Size <= b.partSize {
		return b.putWhole(ctx, b.object(key), r, sums)
	}
	return b.putParts(ctx, b.object(key), r, sums.Size)
}

// options of all uploads: the bytes are not read once more to be signed.
var options = minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true}

func (b *Bucket) putWhole(ctx context.Context, object string, r io.ReaderAt, sums blob.Sums) error {
	sum, err := base64MD5(sums.MD5)
	if err == nil {
		_, err = b.core.PutObject(ctx, b.name, object, io.NewSectionReader(r, 0, sums.Size), sums.Size, sum, string(sums.SHA256), options)
	}
	if err != nil {
		return b.failure(ctx, "store", object, err)
	}
	return nil
}

func (b *Bucket) putParts(ctx context.Context, object string, r io.ReaderAt, size int64) error {
	id, err := b.core.NewMultipartUpload(ctx, b.name, object, options)
	if err != nil {
		return b.failure(ctx, "store", object, err)
	}
	parts, err := b.sendParts(ctx, object, id, r, size)
	if err == nil {
		_, err = b.core.CompleteMultipartUpload(ctx, b.name, object, id, parts, options)
	}
	if err == nil {
		return nil
	}
	abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), opening)
	defer cancel()
	if b.core.AbortMultipartUpload(abort, b.name, object, id) != nil {
		b.log.Info("the parts of an upload to the bucket are left until it is listed")
	}
	return b.failure(ctx, "store", object, err)
}

// sendParts sends one part after the other from where the bytes lie; none is kept in memory.
func (b *Bucket) sendParts(ctx context.Context, object, id string, r io.ReaderAt, size int64) ([]minio.CompletePart, error) {
	const mostParts = 10_000 // that S3 allows
	partSize := max(b.partSize, size/mostParts+1)
	var parts []minio.CompletePart
	for from := int64(0); from < size; from += partSize {
		n := min(partSize, size-from)
		hash := blob.NewHasher()
		if _, err := io.Copy(hash, io.NewSectionReader(r, from, n)); err != nil {
			return nil, err
		}
		sums := hash.Sums()
		sum, err := base64MD5(sums.MD5)
		if err != nil {
			return nil, err
		}
		part, err := b.core.PutObjectPart(ctx, b.name, object, id, len(parts)+1, io.NewSectionReader(r, from, n), n,
			minio.PutObjectPartOptions{Md5Base64: sum, Sha256Hex: string(sums.SHA256), DisableContentSha256: true})
		if err != nil {
			return nil, err
		}
		parts = append(parts, minio.CompletePart{PartNumber: part.PartNumber, ETag: part.ETag})
	}
	return parts, nil
}

// RemoveUnfinished implements blob.Objects.
func (b *Bucket) RemoveUnfinished(ctx context.Context, before time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var errs []error
	for u := range b.core.ListIncompleteUploads(ctx, b.name, b.objects(), true) {
		if u.Err != nil {
			return b.failure(ctx, "list", b.prefix, u.Err)
		}
		if !u.Initiated.Before(before) {
			continue
		}
		if err := b.core.AbortMultipartUpload(ctx, b.name, u.Key, u.UploadID); err != nil {
			errs = append(errs, b.failure(ctx, "remove", u.Key, err))
		}
	}
	return errors.Join(errs...)
}

// base64MD5 is the form of a header.
func base64MD5(text string) (string, error) {
	sum, err := hex.DecodeString(text)
	return base64.StdEncoding.EncodeToString(sum), err
}
