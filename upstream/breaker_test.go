package upstream

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/conan"
)

func newTestBreaker() *breaker {
	return &breaker{now: time.Now, changed: func(State, string, time.Duration) {}}
}

// admitted runs one question through a breaker; false means that it was not let through.
func admitted(b *breaker, outcome error) bool {
	pass, err := b.admit()
	if err != nil {
		return false
	}
	pass.done(outcome)
	return true
}

func TestBreaker(t *testing.T) {
	broken := &failure{kind: kindServerError, reason: "broken"}
	odd := badAnswer("odd")
	refusal := &failure{kind: kindDenied, reason: "forbids access (403)", refused: true}
	oneError := &failure{kind: kindServerError, reason: "failed with status 500", refused: true}
	throttled := &failure{kind: kindThrottled, reason: "slow down", retryAfter: 40 * time.Second}
	type step struct {
		wait    time.Duration
		outcome error
		asked   bool
		state   State
	}
	times := func(n int, s step) (list []step) {
		for range n {
			list = append(list, s)
		}
		return list
	}
	tests := map[string][]step{
		"opens after five in a row":     append(times(4, step{0, broken, true, Closed}), step{0, broken, true, Open}, step{0, nil, false, Open}),
		"not found is a success":        append(times(4, step{0, broken, true, Closed}), append([]step{{0, errNotThere, true, Closed}}, times(4, step{0, broken, true, Closed})...)...),
		"odd content is a success":      append(times(4, step{0, broken, true, Closed}), append([]step{{0, odd, true, Closed}}, times(4, step{0, broken, true, Closed})...)...),
		"refusals never open it":        append(times(7, step{0, refusal, true, Closed}), times(7, step{0, oneError, true, Closed})...),
		"a refusal closes it":           append(times(4, step{0, broken, true, Closed}), step{0, broken, true, Open}, step{5 * time.Second, refusal, true, Closed}),
		"leaving callers say nothing":   append(times(4, step{0, broken, true, Closed}), step{0, context.Canceled, true, Closed}, step{0, broken, true, Open}),
		"closes when a probe succeeds":  append(times(4, step{0, broken, true, Closed}), step{0, broken, true, Open}, step{4 * time.Second, nil, false, Open}, step{time.Second, nil, true, Closed}, step{0, broken, true, Closed}),
		"pauses double":                 append(times(4, step{0, broken, true, Closed}), step{0, broken, true, Open}, step{5 * time.Second, broken, true, Open}, step{5 * time.Second, nil, false, Open}, step{5 * time.Second, broken, true, Open}, step{19 * time.Second, nil, false, Open}, step{time.Second, errNotThere, true, Closed}),
		"opens at once when asked to":   {{0, throttled, true, Open}, {39 * time.Second, nil, false, Open}, {time.Second, nil, true, Closed}},
		"an undecided probe is no vote": append(times(4, step{0, broken, true, Closed}), step{0, broken, true, Open}, step{5 * time.Second, context.Canceled, true, HalfOpen}, step{0, nil, true, Closed}),
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newTestBreaker()
				for i, s := range steps {
					time.Sleep(s.wait)
					if asked := admitted(b, s.outcome); asked != s.asked {
						t.Fatalf("step %d: asked %v, want %v", i, asked, s.asked)
					}
					if got := b.current(); got != s.state {
						t.Fatalf("step %d: state %v, want %v", i, got, s.state)
					}
				}
			})
		})
	}
}

func TestBreakerOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker()
		for range breakerFailures {
			admitted(b, &failure{kind: kindTimeout, reason: "silent"})
		}
		_, err := b.admit()
		var f *failure
		if !errors.As(err, &f) || f.retryAfter != breakerFirst || !f.permanent {
			t.Errorf("refused with %#v", err)
		}
		time.Sleep(breakerFirst)
		probe, err := b.admit()
		if err != nil {
			t.Fatal(err)
		}
		if admitted(b, nil) {
			t.Error("two probes at a time")
		}
		probe.done(nil)
		if b.current() != Closed {
			t.Errorf("state %v after a good probe", b.current())
		}
	})
}

// While upstream has asked for a pause, trying again later helps.
func TestBreakerPauseIsNotPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker()
		admitted(b, &failure{kind: kindThrottled, reason: "slow down", retryAfter: time.Minute})
		_, err := b.admit()
		var f *failure
		if !errors.As(err, &f) || f.retryAfter != time.Minute || f.permanent {
			t.Errorf("refused with %#v", err)
		}
	})
}

// An answer to a question from before the pause does not end the pause.
func TestBreakerOldAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBreaker()
		old, err := b.admit()
		if err != nil {
			t.Fatal(err)
		}
		admitted(b, &failure{kind: kindThrottled, reason: "slow down", retryAfter: time.Minute})
		old.done(nil)
		if b.current() != Open {
			t.Errorf("state %v, want open", b.current())
		}
	})
}

func TestRemoteBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		metrics := NewMetrics(prometheus.NewRegistry())
		r, f := newFake(t, Options{Metrics: metrics}, func(w http.ResponseWriter, req *http.Request) {
			if down {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			notFoundPage(w)
		})
		rev := conan.Revision{Ref: mustRef(t, "zlib/1.3")}
		r.Latest(t.Context(), rev)
		firstFailed := time.Now()
		for range breakerFailures + 2 {
			time.Sleep(time.Millisecond)
			r.Latest(t.Context(), rev)
		}
		if len(f.asked()) != breakerFailures*maxAttempts || r.State() != Open {
			t.Errorf("asked %d times, state %v", len(f.asked()), r.State())
		}
		_, err := r.Latest(t.Context(), rev)
		var got *conan.UnavailableError
		if !errors.As(err, &got) {
			t.Fatalf("error %v", err)
		}
		want := &conan.UnavailableError{Member: "test", Reason: "not asked for the moment because it failed before: failed with status 502", RetryAfter: breakerFirst, Permanent: true, Since: firstFailed}
		got.RetryAfter = got.RetryAfter.Round(time.Second)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if got := value(t, metrics.breaker.WithLabelValues("test")); got != 2 {
			t.Errorf("metric is %v", got)
		}
		down = false
		time.Sleep(breakerFirst)
		if _, err := r.Latest(t.Context(), rev); !errors.Is(err, conan.ErrNotFound) || r.State() != Closed {
			t.Errorf("error %v, state %v", err, r.State())
		}
	})
}
