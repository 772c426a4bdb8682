// Package network puts the built program behind nginx, TLS, company networks and other proxies.
package network

import (
	"testing"

	"conanproxy/e2e/e2etest"
)

func TestMain(m *testing.M) { e2etest.Main(m) }
