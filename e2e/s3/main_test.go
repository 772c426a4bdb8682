// Package s3 runs the real clients against the built program whose files are in a bucket of a real
// S3 server.
package s3

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
