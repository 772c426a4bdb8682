package proxy

import (
	"io"
	"math"
	"net/http"
	"time"
)

// silence is how long a peer may neither take nor send a byte. Lengths of transfers are not
// limited.
const silence = 2 * time.Minute

// response is the one way to a request's answer. It counts what is sent, moves the write deadline
// while bytes flow, and keeps the connection's io.ReaderFrom, and with it sendfile.
type response struct {
	http.ResponseWriter
	status    int   // 200 until another one is sent
	size      int64 // bytes of the body that were sent
	committed bool  // the header is sent
	deadline  time.Time
}

// Unwrap gives http.ResponseController the connection's writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. Only the first call counts.
func (w *response) WriteHeader(status int) {
	if w.committed {
		return
	}
	w.status, w.committed = status, true
	w.moveDeadline()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(w.status)
	w.moveDeadline()
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom. It sends in pieces, so that the deadline can move; each piece
// of an *os.File goes by sendfile where the connection can.
func (w *response) ReadFrom(src io.Reader) (total int64, err error) {
	sink, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	w.WriteHeader(w.status)
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	const piece = 1 << 20
	for limited.N > 0 {
		part := &io.LimitedReader{R: limited.R, N: min(limited.N, piece)}
		w.moveDeadline()
		n, err := sink.ReadFrom(part)
		total += n
		limited.N -= n
		w.size += n
		if err != nil || part.N > 0 {
			return total, err
		}
	}
	return total, nil
}

// moveDeadline gives the client time to take the bytes that are sent next. A deadline that was set
// a moment ago is kept, since setting it costs. Writers without deadlines are ignored.
func (w *response) moveDeadline() {
	const part = silence / 16
	now := time.Now()
	if now.Add(silence - part).Before(w.deadline) {
		return
	}
	w.deadline = now.Add(silence)
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.deadline)
}
