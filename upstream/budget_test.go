package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	for _, test := range []struct{ connections, files int }{{0, 6}, {1, 1}, {2, 1}, {4, 3}, {8, 6}, {100, 75}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(test.connections)
			held := 0
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := b.acquire(ctx, fileLane)
				cancel()
				if err != nil {
					break
				}
				held++
			}
			if b.mostFiles != test.files {
				t.Errorf("%d connections: %d files are promised, want %d", test.connections, b.mostFiles, test.files)
			}
			if held != test.files {
				t.Errorf("%d connections: %d files at a time, want %d", test.connections, held, test.files)
			}
			release, err := b.acquire(t.Context(), documentLane)
			if err != nil {
				t.Fatalf("%d connections: documents starve: %v", test.connections, err)
			}
			release()
		})
	}
}

func TestBudgetQueueIsFairAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(2)
		release, err := b.acquire(t.Context(), fileLane)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan int, 3)
		for i := range 3 {
			go func() {
				mine, err := b.acquire(t.Context(), fileLane)
				if err != nil {
					t.Error(err)
					return
				}
				order <- i
				time.Sleep(time.Second)
				mine()
			}()
			synctest.Wait()
		}
		release()
		for want := range 3 {
			if got := <-order; got != want {
				t.Errorf("number %d came when it was %d's turn", got, want)
			}
		}
		time.Sleep(2 * time.Second)
		if release, err = b.acquire(t.Context(), fileLane); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = b.acquire(t.Context(), fileLane)
		var f *failure
		if !errors.As(err, &f) || f.retryAfter != busyRetryAfter || time.Since(began) != queueDeadline {
			t.Errorf("after %v: %#v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = b.acquire(ctx, fileLane); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's deadline: %v", err)
		}
		release()
	})
}
