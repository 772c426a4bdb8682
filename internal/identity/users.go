package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"
)

// userFile is the table of users of an htpasswd file that is read again when it changes.
// A file that is gone has no users; one that cannot be read leaves the last table in force.
type userFile struct {
	path string // empty: no users at all
	log  *zap.Logger

	mu       sync.Mutex
	looked   bool
	seen     os.FileInfo // nil: the file could not be seen
	young    bool        // the content was so new that the next one could look the same from outside
	trouble  string      // why the file could not be seen or read
	problems []string
	hashes   map[string]string
}

// hash returns a user's bcrypt hash.
func (u *userFile) hash(user string) (string, bool) {
	hash, ok := u.table()[user]
	return hash, ok
}

// has tells whether the user exists now.
func (u *userFile) has(user string) bool {
	_, ok := u.hash(user)
	return ok
}

// decoyHash is a hash that no password has, as expensive to check as the users' own.
func (u *userFile) decoyHash() string {
	cost := bcrypt.DefaultCost
	for _, hash := range u.table() {
		if c, err := bcrypt.Cost([]byte(hash)); err == nil {
			cost = c
			break
		}
	}
	return fmt.Sprintf("$2a$%02d$%s", cost, strings.Repeat(".", 53))
}

// table returns the current users; the map is never changed once returned.
func (u *userFile) table() map[string]string {
	if u.path == "" {
		return nil
	}
	info, err := os.Stat(u.path)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.fail(err)
		return u.hashes
	}
	if !u.young && sameFile(u.seen, info) {
		return u.hashes
	}
	file, err := ReadHtpasswd(u.path)
	if err != nil {
		u.fail(err)
		return u.hashes
	}
	u.seen = info
	u.young = time.Since(info.ModTime()) < clockGrain
	u.take(file)
	return u.hashes
}

// clockGrain is more than the coarsest clock of a file system ticks: of two contents within
// one tick and of one length, time and size tell nothing, and all hashes have one length.
const clockGrain = 2 * time.Second

func (u *userFile) take(file *Htpasswd) {
	hashes, problems := file.hashes(), file.Problems()
	if u.looked && u.trouble == "" && maps.Equal(hashes, u.hashes) && slices.Equal(problems, u.problems) {
		return
	}
	u.looked, u.trouble, u.hashes, u.problems = true, "", hashes, problems
	u.log.Info("htpasswd file read", zap.String("file", u.path), zap.Int("users", len(hashes)))
	if len(problems) == 0 {
		return
	}
	shown := problems[:min(len(problems), 20)]
	u.log.Warn("htpasswd file has damaged lines, which are left out", zap.String("file", u.path),
		zap.Int("lines", len(problems)), zap.Strings("problems", shown))
}

func (u *userFile) fail(err error) {
	u.seen = nil
	trouble := err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		trouble, u.hashes = "the file does not exist", nil
	}
	if u.trouble == trouble {
		return
	}
	u.looked, u.trouble = true, trouble
	u.log.Error("htpasswd file cannot be read", zap.String("file", u.path),
		zap.String("reason", trouble), zap.Int("users", len(u.hashes)))
}

func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
