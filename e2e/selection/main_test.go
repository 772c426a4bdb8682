// Package selection compares what selections mean here with what they mean to the real client.
package selection

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
