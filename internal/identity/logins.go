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
)

// logins checks passwords. bcrypt is slow on purpose, so a right pair is remembered for a
// minute, only so many checks run at once, and an address that guesses is slowed down.
type logins struct {
	users *userFile
	now   func() time.Time

	key        []byte                                   // of this process, for the keys of remembered
	remembered *lru.Cache[[sha256.Size]byte, time.Time] // right pairs, by remembering until when
	throttle   *throttle

	checks  chan struct{} // one slot per bcrypt at work
	suspect chan struct{} // one slot per bcrypt at work for an address that guesses
}

const (
	rememberPair    = time.Minute
	rememberedPairs = 4096
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
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return &logins{
		users:      users,
		now:        now,
		key:        key,
		remembered: remembered,
		throttle:   throttle,
		checks:     make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		suspect:    make(chan struct{}, 1),
	}, nil
}

// check is nil if the password is the user's, and ErrLogin if it is not or there is no such
// user, which takes as long. It returns the error of ctx if that ends first.
func (l *logins) check(ctx context.Context, user, password string, addr netip.Addr) error {
	hash, known := l.users.hash(user)
	pair := l.pair(user, password, hash)
	if known && l.isRemembered(pair) {
		return nil
	}
	if !known {
		hash = l.users.decoyHash()
	}
	right, err := l.compare(ctx, pair, hash, password, addr)
	if err != nil {
		return fmt.Errorf("checking a password: %w", err)
	}
	if right && known && password != "" {
		l.remembered.Add(pair, l.now().Add(rememberPair))
		return nil
	}
	if err := l.throttle.wrong(ctx, addr); err != nil {
		return fmt.Errorf("refusing a login: %w", err)
	}
	return fmt.Errorf("%w: wrong user or password", ErrLogin)
}

// compare runs bcrypt when a slot is free. An address that guesses has one slot, so that the
// others keep theirs. Of many logins with the same right pair at once, only those run it that found a slot at once.
func (l *logins) compare(ctx context.Context, pair [sha256.Size]byte, hash, password string, addr netip.Addr) (bool, error) {
	if l.throttle.isSuspect(addr) {
		if err := enter(ctx, l.suspect); err != nil {
			return false, err
		}
		defer leave(l.suspect)
	}
	if err := enter(ctx, l.checks); err != nil {
		return false, err
	}
	defer leave(l.checks)
	if l.isRemembered(pair) {
		return true, nil
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil, nil
}

func enter(ctx context.Context, slots chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func leave(slots chan struct{}) { <-slots }

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
