package harness

import (
	"net"
	"strings"
	"time"
)

// DelayRelay forwards TCP connections and delays each direction by half a round trip.
type DelayRelay struct {
	net.Listener
	target string
	half   time.Duration
}

// NewDelayRelay starts one in front of the server at the URL target. Close ends it.
func NewDelayRelay(target string, roundTrip time.Duration) (*DelayRelay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &DelayRelay{Listener: l, target: strings.TrimPrefix(target, "http://"), half: roundTrip / 2}
	go d.accept()
	return d, nil
}

// URL is the address of the relay.
func (d *DelayRelay) URL() string { return "http://" + d.Addr().String() }

func (d *DelayRelay) accept() {
	for {
		in, err := d.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			time.Sleep(2 * d.half) // the handshake
			out, err := net.Dial("tcp", d.target)
			if err != nil {
				return
			}
			defer out.Close()
			done := make(chan struct{})
			go func() { d.copy(out, in); close(done) }()
			d.copy(in, out)
			<-done
		}()
	}
}

// copy moves bytes with a fixed delay, keeping several pieces under way at once.
func (d *DelayRelay) copy(to, from net.Conn) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				pieces <- piece{time.Now().Add(d.half), b[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if !failed {
			_, err := to.Write(p.data)
			failed = err != nil
		}
	}
	if c, ok := to.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}
