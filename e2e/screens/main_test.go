// Package screens shows what users of the real clients see, and how soon, when something cannot be
// had.
package screens

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
