// Package failures crashes the built program and breaks its upstreams under real clients.
package failures

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
