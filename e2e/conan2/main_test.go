// Package conan2 runs the real Conan 2 clients against the built program.
package conan2

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
