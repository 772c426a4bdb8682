// Package conan1 runs the real Conan 1.66 client against the built program.
package conan1

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
