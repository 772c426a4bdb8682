package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"conanproxy/internal/conan"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// script answers the nth request with the nth answer, and later ones with the last.
func script(answers ...http.HandlerFunc) http.HandlerFunc {
	n := make(chan int, 1)
	n <- 0
	return func(w http.ResponseWriter, req *http.Request) {
		i := <-n
		n <- i + 1
		answers[min(i, len(answers)-1)](w, req)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func jsonBody(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

func cutAfter(n int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		if w.Header().Get("Content-Length") == "" {
			w.Header().Set("Content-Length", itoa(len(body)))
		}
		io.WriteString(w, body[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestRetry(t *testing.T) {
	good := jsonBody(`{"results": []}`)
	closed := func(w http.ResponseWriter, req *http.Request) { panic(http.ErrAbortHandler) }
	silent := func(w http.ResponseWriter, req *http.Request) { <-req.Context().Done() }
	tests := map[string]struct {
		answers   []http.HandlerFunc
		want      string
		wantAsked int
		wantTime  [2]time.Duration // at least, at most
	}{
		"good":              {[]http.HandlerFunc{good}, "ok", 1, [2]time.Duration{0, 0}},
		"500, then good":    {[]http.HandlerFunc{status(500), good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"502 for ever":      {[]http.HandlerFunc{status(502)}, "unavailable: failed with status 502", 3, [2]time.Duration{450 * time.Millisecond, 900 * time.Millisecond}},
		"501":               {[]http.HandlerFunc{status(501)}, "unavailable: failed with status 501", 1, [2]time.Duration{0, 0}},
		"403":               {[]http.HandlerFunc{status(403)}, "unavailable: forbids access (403)", 1, [2]time.Duration{0, 0}},
		"404":               {[]http.HandlerFunc{status(404)}, "ok", 1, [2]time.Duration{0, 0}},
		"closed, then good": {[]http.HandlerFunc{closed, good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"cut, then good":    {[]http.HandlerFunc{cutAfter(5, `{"results": []}`, "Content-Type", "application/json"), good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"silent":            {[]http.HandlerFunc{silent}, "unavailable: it did not answer in time", 1, [2]time.Duration{55 * time.Second, 55 * time.Second}},
		"short Retry-After": {[]http.HandlerFunc{status(429, "Retry-After", "2"), good}, "ok", 2, [2]time.Duration{2 * time.Second, 2 * time.Second}},
		"40 s for the first byte": {[]http.HandlerFunc{func(w http.ResponseWriter, req *http.Request) {
			sleep(req.Context(), 40*time.Second)
			good(w, req)
		}}, "ok", 1, [2]time.Duration{40 * time.Second, 40 * time.Second}},
		"520, then good":     {[]http.HandlerFunc{status(520), good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"530, then good":     {[]http.HandlerFunc{status(530), good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"531":                {[]http.HandlerFunc{status(531), good}, "unavailable: failed with status 531", 1, [2]time.Duration{0, 0}},
		"407":                {[]http.HandlerFunc{status(407), good}, "unavailable: " + errProxyLogin.reason, 1, [2]time.Duration{0, 0}},
		"408, then good":     {[]http.HandlerFunc{status(408), good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"503 in a while":     {[]http.HandlerFunc{status(503, "Retry-After", "60"), good}, "unavailable: asks for a pause (503)", 1, [2]time.Duration{0, 0}},
		"503 without a date": {[]http.HandlerFunc{status(503), good}, "ok", 2, [2]time.Duration{150 * time.Millisecond, 300 * time.Millisecond}},
		"429 without a date": {[]http.HandlerFunc{status(429), good}, "unavailable: asks for a pause (429)", 1, [2]time.Duration{0, 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newFake(t, Options{}, script(test.answers...))
				began := time.Now()
				_, err := r.Search(t.Context(), conan.Pattern{})
				took := time.Since(began)
				if word(err) != test.want {
					t.Errorf("error %q, want %q", word(err), test.want)
				}
				if len(f.asked()) != test.wantAsked {
					t.Errorf("asked %d times, want %d", len(f.asked()), test.wantAsked)
				}
				if took < test.wantTime[0] || took > test.wantTime[1] {
					t.Errorf("took %v, want %v", took, test.wantTime)
				}
			})
		})
	}
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newFake(t, Options{}, status(503, "Retry-After", "60"))
		_, err := r.Search(t.Context(), conan.Pattern{})
		var got *conan.UnavailableError
		if !errors.As(err, &got) || got.RetryAfter != time.Minute {
			t.Errorf("error %#v", err)
		}
		time.Sleep(20 * time.Second)
		_, err = r.Search(t.Context(), conan.Pattern{})
		if !errors.As(err, &got) || got.RetryAfter != 40*time.Second {
			t.Errorf("error %#v", got)
		}
	})
}

func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Search(ctx, conan.Pattern{}); word(err) != "unavailable: it did not answer in the time that was left" {
			t.Errorf("at the deadline: %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		if _, err := r.Search(ctx, conan.Pattern{}); !errors.Is(err, context.Canceled) || errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("canceled: %v", err)
		}
	})
}

// A body that drips is not silent, but a small answer must end some time.
func TestDrippingDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for req.Context().Err() == nil {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				sleep(req.Context(), 20*time.Second)
			}
		})
		began := time.Now()
		_, err := r.Search(t.Context(), conan.Pattern{})
		if word(err) != "unavailable: it takes too long for a small answer" || time.Since(began) != documentDeadline {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// The body of an error is not waited for.
func TestHangingErrorBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newFake(t, Options{}, func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			w.(http.Flusher).Flush()
			<-req.Context().Done()
		})
		began := time.Now()
		_, err := r.Search(t.Context(), conan.Pattern{})
		if took := time.Since(began); took > discardSilence || word(err) != "unavailable: forbids access (403)" {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// A short timeout holds for the first byte too.
func TestShortTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newFake(t, Options{Timeout: 3 * time.Second}, func(w http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
		began := time.Now()
		_, err := r.Search(t.Context(), conan.Pattern{})
		if took := time.Since(began); took != 3*time.Second || !errors.Is(err, conan.ErrUnavailable) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}
