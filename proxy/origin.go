package proxy

import (
	"net/http"
	"strconv"
	"time"

	"conanproxy/internal/conan"
)

// setOrigin says in the header where an answer came from; of a stale one also its age.
func setOrigin(h http.Header, o conan.Origin) {
	for _, f := range originFields(o) {
		h[f.name] = f.values
	}
	if o.State != conan.StateStale {
		return
	}
	h.Set("Age", strconv.FormatInt(int64(o.Age/time.Second), 10))
	h.Set("Warning", `110 - "Response is Stale"`)
}

// originFields are the part that does not change with time.
func originFields(o conan.Origin) []headerField {
	if o.Member == "" {
		return nil
	}
	fields := []headerField{field("X-Conanproxy-Source", o.Member)}
	if o.State != "" {
		fields = append(fields, field("X-Cache", string(o.State)))
	}
	return fields
}
