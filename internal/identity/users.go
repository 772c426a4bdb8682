package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// account is what the server keeps of a user.
type account struct {
	hash  string // bcrypt's
	state string // Tokens.fingerprint of hash
}

// userFile is the table of users of an htpasswd file that is read again when it changes.
// A file that is gone has no users. If a changed file cannot be read, its last users stay for
// closeAfter, the time of a repair: a user who was removed in it must not stay for ever.
type userFile struct {
	path    string // empty: no users at all
	log     *zap.Logger
	now     func() time.Time
	tokens  Tokens // makes fingerprints
	metrics *Metrics

	mu       sync.Mutex
	seen     os.FileInfo // nil: the file could not be seen
	young    bool        // the content was so new that the next one could look the same from outside
	looked   bool        // accounts and problems are those of a content
	accounts map[string]account
	costs    []int // of the hashes, in the order of the file
	problems []string
	trouble  string    // why the file cannot be read; empty if it can
	since    time.Time // when that was first noticed
	closed   bool      // the users are refused because of it
}

// closeAfter is how long the last users of a file that cannot be read any more may still log in.
const closeAfter = 30 * time.Second

// account returns what is known of a user.
func (u *userFile) account(user string) (account, bool) {
	a, ok := u.table()[user]
	return a, ok
}

// decoyHash is a hash that no password has. It is as expensive to check as that of some user,
// always the same one for a name, so that the time tells nothing about who exists.
func (u *userFile) decoyHash(user string) string {
	u.table()
	u.mu.Lock()
	defer u.mu.Unlock()
	cost := bcrypt.DefaultCost
	if n := uint64(len(u.costs)); n > 0 {
		number, _ := strconv.ParseUint(u.tokens.fingerprint("decoy\x00"+user), 16, 64) // a fingerprint is hex
		cost = u.costs[number%n]
	}
	return fmt.Sprintf("$2a$%02d$%s", cost, strings.Repeat(".", 53))
}

// problem is why the file cannot be read, or nil. A file that does not exist is none: the first
// user makes it.
func (u *userFile) problem() error {
	u.table()
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.trouble == "":
		return nil
	case u.closed:
		return fmt.Errorf("%s; its users are refused", u.trouble)
	}
	return fmt.Errorf("%s; its users will be refused from %s on", u.trouble, u.since.Add(closeAfter).UTC().Format(time.RFC3339))
}

// table returns the current users; the map is never changed once returned.
func (u *userFile) table() map[string]account {
	if u.path == "" {
		return nil
	}
	info, err := os.Stat(u.path)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil && u.trouble == "" && !u.young && sameFile(u.seen, info) {
		return u.accounts
	}
	var file *Htpasswd
	if err == nil {
		file, err = ReadHtpasswd(u.path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info, file = nil, &Htpasswd{}
	case err != nil:
		u.fail(err)
		return u.accounts
	}
	u.seen = info
	u.young = info != nil && time.Since(info.ModTime()) < clockGrain
	u.apply(file)
	return u.accounts
}

// clockGrain is more than the coarsest clock of a file system ticks: of two contents within
// one tick and of one length, time and size tell nothing, and all hashes have one length.
const clockGrain = 2 * time.Second

// apply puts the content of the file in force.
func (u *userFile) apply(file *Htpasswd) {
	accounts := make(map[string]account, len(file.lines))
	var costs []int
	for _, l := range file.lines {
		if l.user == "" {
			continue
		}
		accounts[l.user] = account{l.hash, u.tokens.fingerprint(l.hash)}
		cost, _ := bcrypt.Cost([]byte(l.hash)) // a hash that is understood has one
		costs = append(costs, cost)
	}
	problems := file.Problems()
	if u.looked && u.trouble == "" && maps.Equal(accounts, u.accounts) && slices.Equal(problems, u.problems) {
		return
	}
	u.looked, u.trouble, u.closed = true, "", false
	u.accounts, u.costs, u.problems = accounts, costs, problems
	u.metrics.usersFileOK.Set(1)
	if u.seen == nil {
		u.log.Warn("htpasswd file does not exist, so there are no users", zap.String("file", u.path))
		return
	}
	u.log.Info("htpasswd file read", zap.String("file", u.path), zap.Int("users", len(accounts)))
	if len(problems) == 0 {
		return
	}
	shown := problems[:min(len(problems), 20)]
	u.log.Warn("htpasswd file has damaged lines, which are left out", zap.String("file", u.path),
		zap.Int("lines", len(problems)), zap.Strings("problems", shown))
}

// fail notes that the file cannot be read, and refuses its users when that has lasted too long.
func (u *userFile) fail(err error) {
	if u.trouble == "" {
		u.since = u.now()
		u.metrics.usersFileOK.Set(0)
	}
	if trouble := err.Error(); trouble != u.trouble {
		u.trouble = trouble
		u.log.Error("htpasswd file cannot be read; its users will be refused if that lasts",
			zap.String("file", u.path), zap.String("reason", trouble), zap.Duration("refused_after", closeAfter))
	}
	if u.closed || u.looked && u.now().Sub(u.since) < closeAfter {
		return
	}
	u.closed, u.looked, u.accounts, u.costs = true, false, nil, nil
	u.log.Error("users of the htpasswd file are refused until it can be read", zap.String("file", u.path))
}

func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
