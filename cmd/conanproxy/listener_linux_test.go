package main

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestSlowClientsHoldLittleKernelMemory(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	conn, err := leanListener{inner}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	const receiver = 1 << 20 // far more than the client's kernel takes by itself
	n, err := conn.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > unsent+receiver {
		t.Errorf("the kernel took %d bytes for a client that reads nothing, %v", n, err)
	}
}
