package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

// logins checks passwords. bcrypt is slow on purpose, so a right pair is remembered for a minute,
// equal logins share a check, only so many checks run at once, and an address that guesses is
// slowed down.
type logins struct {
	users *userFile
	now   func() time.Time

	key        []byte                                   // of this process, for the keys of remembered
	remembered *lru.Cache[[sha256.Size]byte, time.Time] // right pairs, by remembering until when
	throttle   *throttle
	queue      *queue
	checks     singleflight.Group
}

const (
	rememberPair    = time.Minute
	rememberedPairs = 4096
	maxQueued       = 64 // logins; with two slots and our own hashes about 2 s of work
)

func newLogins(users *userFile, now func() time.Time) (*logins, error) {
	remembered, err := lru.New[[sha256.Size]byte, time.Time](rememberedPairs)
	if err != nil {
		return nil, err
	}
	throttle, err := newThrottle(now)
	if err != nil {
		return nil, err
	}
	queue, err := newQueue(max(2, runtime.GOMAXPROCS(0)/2), maxQueued, throttle.isSuspect)
	if err != nil {
		return nil, err
	}
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return &logins{
		users:      users,
		now:        now,
		key:        key,
		remembered: remembered,
		throttle:   throttle,
		queue:      queue,
	}, nil
}

// credentials are a name and a password.
type credentials struct{ user, password string }

// login is credentials beside the account that they are for.
type login struct {
	credentials
	account account
	exists  bool // the account does; else its hash is a decoy
	pair    [sha256.Size]byte
}

// check returns the caller if one of the readings of what was sent is right, and ErrLogin if none
// is, which takes as long for users that do not exist. It is ErrBusy if too many others are being
// checked, and the error of ctx if that ends first.
func (l *logins) check(ctx context.Context, readings []credentials, addr netip.Addr) (Caller, error) {
	attempts := l.prepare(readings)
	for _, a := range attempts {
		if a.exists && l.isRemembered(a.pair) {
			return a.caller(), nil
		}
	}
	for _, a := range attempts {
		right, err := l.compare(ctx, a, network(addr))
		if err != nil {
			return Caller{}, fmt.Errorf("checking a password: %w", err)
		}
		if right {
			return a.caller(), nil
		}
	}
	if err := l.throttle.wrong(ctx, addr); err != nil {
		return Caller{}, fmt.Errorf("refusing a login: %w", err)
	}
	if len(attempts) == 0 {
		return Caller{}, fmt.Errorf("%w: the password is longer than %d bytes", ErrLogin, maxPassword)
	}
	return Caller{}, fmt.Errorf("%w: wrong user or password", ErrLogin)
}

// prepare looks the accounts up. Passwords of which bcrypt would see only a part are left out.
func (l *logins) prepare(readings []credentials) []login {
	attempts := make([]login, 0, len(readings))
	for _, c := range readings {
		if len(c.password) > maxPassword {
			continue
		}
		a := login{credentials: c}
		if a.account, a.exists = l.users.account(c.user); !a.exists {
			a.account.hash = l.users.decoyHash(c.user)
		}
		a.pair = l.pair(c.user, c.password, a.account.hash)
		attempts = append(attempts, a)
	}
	return attempts
}

func (a login) caller() Caller { return Caller{Name: a.user, state: a.account.state} }

// compare shares one check among the equal logins of a network. The check goes on if the caller
// leaves.
func (l *logins) compare(ctx context.Context, a login, from netip.Prefix) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	done := l.checks.DoChan(from.String()+string(a.pair[:]), func() (any, error) { return l.compareNow(a, from) })
	select {
	case result := <-done:
		right, _ := result.Val.(bool)
		return right, result.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// compareNow runs bcrypt when a slot is free, unless the pair was found right meanwhile.
func (l *logins) compareNow(a login, from netip.Prefix) (bool, error) {
	place := source{from, a.user}
	if err := l.queue.enter(place); err != nil {
		return false, err
	}
	defer l.queue.leave(place)
	if a.exists && l.isRemembered(a.pair) {
		return true, nil
	}
	right := bcrypt.CompareHashAndPassword([]byte(a.account.hash), []byte(a.password)) == nil
	if !right || !a.exists || a.password == "" {
		return false, nil
	}
	l.remembered.Add(a.pair, l.now().Add(rememberPair))
	return true, nil
}

// pair is the key under which a right pair is remembered. It holds the hash too, so that a
// new password in the users' file counts at once.
func (l *logins) pair(user, password, hash string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, l.key)
	for _, part := range []string{user, password, hash} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return [sha256.Size]byte(mac.Sum(nil))
}

func (l *logins) isRemembered(pair [sha256.Size]byte) bool {
	until, ok := l.remembered.Get(pair)
	return ok && l.now().Before(until)
}
