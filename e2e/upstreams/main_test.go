// Package upstreams puts the built program before servers that answer as known products do, and
// real clients before it.
package upstreams

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
