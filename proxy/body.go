package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"conanproxy/internal/conan"
)

// body is the request's body; every byte that arrives moves its read deadline.
func (r *request) body() *bodyReader {
	return &bodyReader{ReadCloser: r.req.Body, control: http.NewResponseController(r.ResponseWriter), stalled: &r.stalled, begun: &r.begun}
}

// bodyReader remembers how the body of a request ended.
type bodyReader struct {
	io.ReadCloser
	control *http.ResponseController
	stalled *bool // set when the client was silent for too long
	begun   *bool // set by the first read
	failed  error // what ended the body before its end
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(silence))
	*b.begun = true
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		*b.stalled, b.failed = true, err // the deadline stays: nothing is to wait for this client again
		return n, err
	}
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{}) // what follows is our time, not the client's
		if err != io.EOF {
			b.failed = err
		}
	}
	return n, err
}

// drainLimit bounds what is read of a refused upload, so that the client is still listening when
// the refusal arrives.
const drainLimit = 64 << 20

// drain reads what is left of the request's body, up to drainLimit and for no longer than silence.
func (r *request) drain() {
	if r.stalled || r.req.Body == nil || r.req.Body == http.NoBody || r.req.Header.Get("Expect") != "" {
		return
	}
	control := http.NewResponseController(r.ResponseWriter)
	_ = control.SetReadDeadline(time.Now().Add(silence))
	_, err := io.CopyN(io.Discard, r.req.Body, drainLimit) // an error here means the client disconnected
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		_ = control.SetReadDeadline(time.Time{})
	}
}

// swallow reads on after the refusal of a body of any length, until the client has taken the answer
// and stops sending: bytes that arrive at a closed connection would reset it, and the client could
// lose the answer.
func (r *request) swallow() {
	const longest = 10 * time.Second
	control := http.NewResponseController(r.ResponseWriter)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(longest))
	_, _ = io.Copy(io.Discard, r.req.Body)
}

// maxJSONBody bounds the JSON bodies of the v1 API.
const maxJSONBody = 1 << 20

// readJSON decodes the body into v; a body that is too long, not JSON, or followed by more is
// conan.ErrInvalid.
func (r *request) readJSON(v any) error {
	return r.decodeJSON(v, maxJSONBody, func(*json.Decoder) {})
}

func (r *request) decodeJSON(v any, most int64, strictly func(*json.Decoder)) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.body(), most))
	strictly(decoder)
	err := decoder.Decode(v)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("something follows the JSON value")
	}
	return fmt.Errorf("%w: the body is not the JSON that this call takes, of at most %d KiB: %s", conan.ErrInvalid, most>>10, sentence(err))
}

// emptyBody makes sure that a probe brings no bytes, which would be lost.
func (r *request) emptyBody() error {
	if r.req.ContentLength == 0 {
		return nil
	}
	if n, err := io.ReadFull(r.body(), make([]byte, 1)); n > 0 || err != io.EOF {
		return refuse(http.StatusBadRequest, "a request with X-Checksum-Deploy has no body")
	}
	return nil
}
