package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/minio/minio-go/v7"
	"go.uber.org/zap"

	"conanproxy/internal/blob"
)

// failure is what a failed request is for callers. They get a phrase without addresses, since it
// may reach clients; the log gets everything.
func (b *Bucket) failure(ctx context.Context, what, object string, err error) error {
	var said minio.ErrorResponse
	errors.As(err, &said)
	switch {
	case said.Code == minio.NoSuchKey:
		return fmt.Errorf("object %s: %w", object, blob.ErrNotFound)
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return ctx.Err()
	}
	b.log.Warn("a request to the bucket failed", zap.String("what", what), zap.String("object", object), zap.Error(err))
	return fmt.Errorf("%w: %s", blob.ErrUnavailable, b.reason(said, err))
}

// reason is a phrase for what S3 servers answer, with what its administrator can do.
func (b *Bucket) reason(said minio.ErrorResponse, err error) string {
	var network net.Error
	switch said.Code {
	case minio.NoSuchBucket:
		return fmt.Sprintf("the bucket %s does not exist", b.name)
	case "RequestTimeTooSkewed":
		return "the clock of this machine differs too much from that of the object store; set both by NTP"
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return "the access key has expired"
	case "InvalidAccessKeyId":
		return "it does not know the access key"
	case "SignatureDoesNotMatch":
		return "the secret key is wrong"
	case minio.AccessDenied:
		return fmt.Sprintf("the access key has no right for this in the bucket %s", b.name)
	case "AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect":
		return "blobs.s3.region is not that of the bucket"
	case "XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded":
		return fmt.Sprintf("the bucket %s is full", b.name)
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException":
		return "it asks for fewer requests"
	case "":
		if errors.As(err, &network) && network.Timeout() || errors.Is(err, context.DeadlineExceeded) {
			return "it did not answer in time"
		}
		return "it cannot be reached"
	}
	if said.StatusCode == http.StatusInsufficientStorage {
		return fmt.Sprintf("the bucket %s is full", b.name)
	}
	return fmt.Sprintf("it answered %d %.60q", said.StatusCode, said.Code)
}
