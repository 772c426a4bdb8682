// Package generations lets Conan 1 and Conan 2 clients share packages through the built program.
package generations

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
