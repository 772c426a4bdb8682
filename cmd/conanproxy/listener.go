package main

import "net"

// unsent is how many bytes the kernel may hold of a connection beyond what is on its way to the client. Without a bound it
// queues up to 4 MB (the third number of net.ipv4.tcp_wmem) for each client that reads slower than it is sent to, and a
// few hundred of those bring the whole machine's TCP under memory pressure. The window of a fast client on a long line is not
// bounded by it.
const unsent = 1 << 20

// leanListener bounds what the kernel queues for each connection. Accepted sockets do not inherit that from the listening one.
type leanListener struct{ net.Listener }

// Accept implements net.Listener. The connection stays a *net.TCPConn, for sendfile.
func (l leanListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		boundUnsent(tcp, unsent)
	}
	return conn, err
}
