package identity

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// How long the n-th wrong login from one address takes, and that right ones take no time.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right", "bob": "right"})
		took := func(user, password string, addr netip.Addr) time.Duration {
			t.Helper()
			start := time.Now()
			_, err := g.Identify(t.Context(), loginHeader(user, password), addr)
			if (password == "right") != (err == nil) {
				t.Errorf("%s with %q: error %v", user, password, err)
			}
			return time.Since(start)
		}
		var got []time.Duration
		for n := range 17 {
			user := []string{"ann", "bob", "nobody"}[n%3]
			got = append(got, took(user, "wrong", here))
		}
		want := make([]time.Duration, freeWrongLogins, 17)
		for _, seconds := range []float64{0.5, 1, 2, 4, 8, 8, 8} {
			want = append(want, time.Duration(seconds*float64(time.Second)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("waits (-want +got):\n%s", diff)
		}
		if d := took("ann", "right", here); d != 0 {
			t.Errorf("a right login from there took %v", d)
		}
		if d := took("ann", "wrong", netip.MustParseAddr("::ffff:192.0.2.1")); d != maxDelay {
			t.Errorf("the same address in IPv6 form took %v, want %v", d, maxDelay)
		}
		if d := took("ann", "wrong", netip.MustParseAddr("192.0.2.2")); d != 0 {
			t.Errorf("a wrong login from elsewhere took %v", d)
		}
		time.Sleep(wrongWindow)
		if d := took("ann", "wrong", here); d != 0 {
			t.Errorf("a minute later a wrong login took %v", d)
		}
	})
}

func TestBackOffCountsIPv6Networks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "x"})
		addr := netip.MustParseAddr("2001:db8::1")
		for range freeWrongLogins {
			_, _ = g.Identify(t.Context(), loginHeader("a", "b"), addr)
			addr = addr.Next()
		}
		for text, want := range map[string]time.Duration{"2001:db8::ffff:1%eth0": firstDelay, "2001:db8:0:1::1": 0} {
			start := time.Now()
			_, _ = g.Identify(t.Context(), loginHeader("a", "b"), netip.MustParseAddr(text))
			if got := time.Since(start); got != want {
				t.Errorf("%s waited %v, want %v", text, got, want)
			}
		}
	})
}

func TestBackOffEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "x"})
		for range freeWrongLogins {
			_, _ = g.Identify(t.Context(), loginHeader("a", "b"), here)
		}
		ctx, cancel := context.WithTimeout(t.Context(), firstDelay/2)
		defer cancel()
		start := time.Now()
		_, err := g.Identify(ctx, loginHeader("a", "b"), here)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != firstDelay/2 {
			t.Errorf("error %v after %v, want the caller's end after %v", err, time.Since(start), firstDelay/2)
		}
	})
}

// Only so many wrong logins are kept waiting; none of them stops a right one.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		for range freeWrongLogins + 10 {
			g.logins.throttle.count(here)
		}
		var all sync.WaitGroup
		for range maxWaiting {
			all.Go(func() { _ = g.logins.throttle.wrong(t.Context(), here) })
		}
		synctest.Wait()
		start := time.Now()
		if err := g.logins.throttle.wrong(t.Context(), here); err != nil || time.Since(start) != 0 {
			t.Errorf("one more waited %v, error %v", time.Since(start), err)
		}
		if _, err := g.Identify(t.Context(), loginHeader("ann", "right"), here); err != nil || time.Since(start) != 0 {
			t.Errorf("a right login took %v, error %v", time.Since(start), err)
		}
		all.Wait()
		if got := time.Since(start); got != maxDelay {
			t.Errorf("the waiting took %v, want %v", got, maxDelay)
		}
	})
}

// An address that guesses cannot take the places of the others.
func TestGuessersHaveOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		for range freeWrongLogins {
			g.logins.throttle.count(here)
		}
		g.logins.suspect <- struct{}{} // a guess is being checked
		if _, err := g.Identify(t.Context(), loginHeader("ann", "right"), netip.MustParseAddr("192.0.2.2")); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := g.Identify(t.Context(), loginHeader("ann", "RIGHT"), here)
			done <- err
		}()
		time.Sleep(2 * maxDelay) // longer than it takes to refuse a guess that was checked
		select {
		case err := <-done:
			t.Errorf("a second guess was checked at the same time: %v", err)
		default:
		}
		if _, err := g.Identify(t.Context(), loginHeader("ann", "right"), here); err != nil {
			t.Errorf("a remembered login from there: %v", err)
		}
		leave(g.logins.suspect)
		if err := <-done; !errors.Is(err, ErrLogin) {
			t.Errorf("the second guess: error %v, want a login", err)
		}
	})
}

// Known and unknown users wait for the same room, and no more than it holds are checked at once.
func TestChecksAreBounded(t *testing.T) {
	g, _ := loginDirectory(t, map[string]string{"ann": "right"})
	for range cap(g.logins.checks) {
		g.logins.checks <- struct{}{}
	}
	for _, user := range []string{"ann", "nobody"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := g.Identify(ctx, loginHeader(user, "right"), here); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with the room full: error %v, want to wait", user, err)
		}
		cancel()
	}
}

func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		identify := func(password string) error {
			_, err := g.Identify(t.Context(), loginHeader("ann", password), here)
			return err
		}
		if err := identify("right"); err != nil {
			t.Fatal(err)
		}
		for range cap(g.logins.checks) {
			g.logins.checks <- struct{}{} // nothing can be checked from now on
		}
		time.Sleep(rememberPair - time.Second)
		if err := identify("right"); err != nil {
			t.Errorf("within the minute: %v", err)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Identify(ctx, loginHeader("ann", "right"), here); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the minute: error %v, want that it is checked again", err)
		}
		if g.logins.remembered.Len() != 1 {
			t.Errorf("%d pairs are remembered, want one", g.logins.remembered.Len())
		}
	})
}

func TestDecoyHash(t *testing.T) {
	users, _ := userFileWith(t, "ann:"+cheapHash(t, "x")+"\n")
	none := &userFile{log: zap.NewNop()}
	for name, tt := range map[string]struct {
		users *userFile
		cost  int
	}{"as costly as the users'": {users, bcrypt.MinCost}, "without users": {none, bcrypt.DefaultCost}} {
		hash := tt.users.decoyHash()
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || cost != tt.cost || checkHash(hash) != "" {
			t.Errorf("%s: cost %d, error %v, %q; want %d", name, cost, err, checkHash(hash), tt.cost)
		}
		err = bcrypt.CompareHashAndPassword([]byte(hash), []byte("x"))
		if !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("%s: error %v, want a full check that fails", name, err)
		}
	}
}

// Who waited for room behind the same right pair is let in without another check.
func TestRememberedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		l := g.logins
		for range cap(l.checks) {
			l.checks <- struct{}{}
		}
		done := make(chan error, 2)
		for _, password := range []string{"another", "wrong"} { // neither is what the file has: a check would refuse both
			go func() { done <- l.check(t.Context(), "ann", password, here) }()
		}
		synctest.Wait()
		hash, _ := l.users.hash("ann")
		l.remembered.Add(l.pair("ann", "another", hash), l.now().Add(rememberPair))
		for range cap(l.checks) {
			leave(l.checks)
		}
		var refused int
		for range cap(done) {
			if err := <-done; errors.Is(err, ErrLogin) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused != 1 {
			t.Errorf("%d of two were refused, want the one that is not remembered", refused)
		}
	})
}
