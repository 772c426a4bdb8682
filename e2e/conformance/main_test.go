// Package conformance holds the built program to what v1 and v2 servers answer, byte by byte, and
// to its own rules.
package conformance

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
