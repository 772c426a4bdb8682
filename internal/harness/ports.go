package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// ports counts through a range below that of outgoing connections, whose ports could take a free
// one away.
var ports struct {
	mu   sync.Mutex
	next int
}

// FreePort returns a port of 127.0.0.1 that was free a moment ago and that this process has not
// been given lately.
func FreePort() (int, error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	const low, high = 20000, 32000
	if ports.next == 0 {
		ports.next = low + rand.IntN(high-low)
	}
	for range high - low {
		ports.next++
		if ports.next >= high {
			ports.next = low
		}
		l, err := net.Listen("tcp", HostPort(ports.next))
		if err == nil {
			return ports.next, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", low, high)
}

// HostPort is the address of a port on the loopback.
func HostPort(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
