// Package operators lets real clients and the commands of the program use the operators' API of a
// running one.
package operators

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
