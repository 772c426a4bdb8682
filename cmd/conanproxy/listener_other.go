//go:build !linux

package main

import "net"

// boundUnsent does nothing: queues are left to the system.
func boundUnsent(*net.TCPConn, int) {}
