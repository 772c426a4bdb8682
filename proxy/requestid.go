package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync/atomic"
)

// requestIDs name requests: by a word of this process and a number.
type requestIDs struct {
	process string
	last    atomic.Uint64
}

func newRequestIDs() *requestIDs {
	var word [4]byte
	_, _ = rand.Read(word[:]) // never fails
	return &requestIDs{process: hex.EncodeToString(word[:]) + "-"}
}

// of returns the id of a request: the one that a trusted proxy gave it, or a new one.
func (ids *requestIDs) of(req *http.Request, trusted trustedProxies) string {
	if id := req.Header.Get("X-Request-Id"); id != "" && trusted.sent(req) {
		return printable(id)
	}
	return ids.process + strconv.FormatUint(ids.last.Add(1), 10)
}
