package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
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

var elsewhere = netip.MustParseAddr("192.0.2.2")

// holders take slots.
var holders = source{network: network(netip.MustParseAddr("198.51.100.1"))}

// takeSlots takes every slot in which passwords are checked, and gives them back when called.
func takeSlots(t *testing.T, l *logins) (giveBack func()) {
	t.Helper()
	for range l.queue.slots {
		if err := l.queue.enter(holders); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for range l.queue.slots {
			l.queue.leave(holders)
		}
	}
}

// An address that guesses cannot take the places of the others.
func TestGuessersHaveHalfOfTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		for range freeWrongLogins {
			g.logins.throttle.count(here)
		}
		half := g.logins.queue.slots / 2
		for range half { // as many guesses are being checked
			if err := g.logins.queue.enter(source{network: network(here)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := g.Identify(t.Context(), loginHeader("ann", "right"), elsewhere); err != nil {
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
			t.Errorf("another guess was checked at the same time: %v", err)
		default:
		}
		if _, err := g.Identify(t.Context(), loginHeader("ann", "right"), here); err != nil {
			t.Errorf("a remembered login from there: %v", err)
		}
		for range half {
			g.logins.queue.leave(source{network: network(here)})
		}
		if err := <-done; !errors.Is(err, ErrLogin) {
			t.Errorf("the other guess: error %v, want a login", err)
		}
	})
}

// Of a burst of guesses from one address the oldest that find no room are put off. Logins that come
// later take the places of more of them, from there and from elsewhere.
func TestBurstOfGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right", "bob": "right"})
		giveBack := takeSlots(t, g.logins)
		const burst = 200
		guesses := make(chan error, burst)
		for n := range burst {
			go func() {
				_, err := g.Identify(t.Context(), loginHeader("ann", fmt.Sprint("guess", n)), here)
				guesses <- err
			}()
		}
		synctest.Wait()
		later := make(chan error, 3)
		for _, from := range []struct {
			addr netip.Addr
			user string
		}{{here, "bob"}, {elsewhere, "bob"}, {here, "ann"}} {
			go func() {
				_, err := g.Identify(t.Context(), loginHeader(from.user, "right"), from.addr)
				later <- err
			}()
			synctest.Wait()
		}
		for range burst - maxQueued + cap(later) {
			if err := <-guesses; !errors.Is(err, ErrBusy) || errors.Is(err, ErrLogin) {
				t.Fatalf("error %v, want %v", err, ErrBusy)
			}
		}
		giveBack()
		for range cap(later) {
			if err := <-later; err != nil {
				t.Errorf("a later login: %v", err)
			}
		}
		for range maxQueued - cap(later) {
			if err := <-guesses; !errors.Is(err, ErrLogin) {
				t.Errorf("a guess: error %v, want a login", err)
			}
		}
		if got := value(t, g.metrics.logins.WithLabelValues(loginBusy)); got != burst-maxQueued+3 {
			t.Errorf("%v logins counted as put off", got)
		}
	})
}

// Networks take turns, and in a network the names; between equals the newest goes first.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := newQueue(1, 10, func(netip.Prefix) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		ann, bob, other := source{network(here), "ann"}, source{network(here), "bob"}, source{network(elsewhere), "ann"}
		checked := make(chan string)
		enter := func(name string, from source) {
			go func() {
				if err := q.enter(from); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				checked <- name
				q.leave(from)
			}()
			synctest.Wait()
		}
		enter("first", holders)
		enter("ann, oldest", ann)
		enter("ann", ann)
		enter("bob", bob)
		enter("elsewhere", other)
		enter("elsewhere, newest", other)
		got := []string{<-checked, <-checked, <-checked}
		synctest.Wait() // another one is being checked
		enter("bob, newest", bob)
		for range 4 {
			got = append(got, <-checked)
		}
		want := []string{"first", "elsewhere, newest", "bob", "elsewhere", "ann", "bob, newest", "ann, oldest"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order of the checks (-want +got):\n%s", diff)
		}
	})
}

// Equal logins at once share one check, so that many machines with one account are not put off.
func TestEqualLoginsShareACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ci": "right"})
		giveBack := takeSlots(t, g.logins)
		var all sync.WaitGroup
		for range 4 * maxQueued {
			all.Go(func() {
				if _, err := g.Identify(t.Context(), loginHeader("ci", "right"), here); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := len(g.logins.queue.waiting); n != 1 {
			t.Errorf("%d checks wait, want one", n)
		}
		giveBack()
		all.Wait()
	})
}

// Known and unknown users wait for the same slots, and no more than these are checked at once.
func TestChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		giveBack := takeSlots(t, g.logins)
		defer giveBack()
		for _, user := range []string{"ann", "nobody"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := g.Identify(ctx, loginHeader(user, "right"), here); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s with every slot taken: error %v, want to wait", user, err)
			}
			cancel()
		}
	})
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
		giveBack := takeSlots(t, g.logins) // nothing can be checked from now on
		defer giveBack()
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
	for name, tt := range map[string]struct {
		users *userFile
		cost  int
	}{"as costly as the users'": {users, bcrypt.MinCost}, "without users": {&userFile{}, bcrypt.DefaultCost}} {
		hash := tt.users.decoyHash("eve")
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

// Where hashes have several costs, a name that is no user's always has the same one of them, and
// other names have others: neither the time of one check nor that of several tells who exists.
func TestDecoyCosts(t *testing.T) {
	cheap := cheapHash(t, "x")
	users, _ := userFileWith(t, "ann:"+cheap+"\nbob:"+strings.Replace(cheap, "$04$", "$12$", 1)+"\n")
	costs := map[int]int{}
	for n := range 100 {
		name := fmt.Sprint("nobody", n)
		hash := users.decoyHash(name)
		for range 3 {
			if again := users.decoyHash(name); again != hash {
				t.Fatalf("%s: %q, then %q", name, hash, again)
			}
		}
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			t.Fatal(err)
		}
		costs[cost]++
	}
	if costs[4] < 20 || costs[12] < 20 || costs[4]+costs[12] != 100 {
		t.Errorf("costs of a hundred names: %v, want 4 and 12 about equally often", costs)
	}
}

// A login that waited for a slot behind the same right pair from elsewhere is let in without
// another check.
func TestRememberedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := loginDirectory(t, map[string]string{"ann": "right"})
		l := g.logins
		giveBack := takeSlots(t, l)
		done := make(chan error, 2)
		for _, password := range []string{"another", "wrong"} { // neither is what the file has: a check would refuse both
			go func() {
				_, err := l.check(t.Context(), []credentials{{"ann", password}}, here)
				done <- err
			}()
		}
		synctest.Wait()
		l.remembered.Add(l.pair("ann", "another", l.users.hash("ann")), l.now().Add(rememberPair))
		giveBack()
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
