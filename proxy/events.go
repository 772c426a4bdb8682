package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"

	"conanproxy/proxy/api"
)

// sendEvents answers with server-sent events. The header goes out with the first of them, so that
// an error before it is an answer like any other.
func (r *request) sendEvents(events api.Events) error {
	control := http.NewResponseController(r.ResponseWriter)
	return events(func(event string, data any) error {
		text := ":\n\n" // a comment
		if event != "" {
			body, err := json.Marshal(data)
			if err != nil {
				return fmt.Errorf("render an event: %w", err)
			}
			text = "event: " + event + "\ndata: " + string(body) + "\n\n"
		}
		if !r.committed {
			h := r.Header()
			h.Set("Content-Type", "text/event-stream")
			h.Set("Cache-Control", "no-store")
			h.Set("X-Accel-Buffering", "no") // nginx passes events on as they come
		}
		if _, err := r.Write([]byte(text)); err != nil || control.Flush() != nil {
			r.abort() // the client has left
		}
		return nil
	})
}
