package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/conan"
)

// cheapHash is a hash that is quick to check.
func cheapHash(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// apacheHash has the form that Apache's htpasswd -B writes.
const apacheHash = "$2y$04$abcdefghijklmnopqrstuuFy1aCE4G5Gt9VbGrpbB8v5oS8T1lGcm"

func TestParseHtpasswd(t *testing.T) {
	good := cheapHash(t, "x")
	tests := []struct {
		name         string
		content      string
		wantUsers    []string
		wantProblems []string
	}{
		{name: "empty"},
		{name: "one", content: "ann:" + good + "\n", wantUsers: []string{"ann"}},
		{name: "no newline at the end", content: "ann:" + good, wantUsers: []string{"ann"}},
		{name: "Windows line ends and a byte order mark", content: "\ufeffann:" + good + "\r\nbob:" + good + "\r\n", wantUsers: []string{"ann", "bob"}},
		{name: "blanks after the hash", content: "ann:" + good + " \t\n", wantUsers: []string{"ann"}},
		{name: "comments and blank lines", content: "# users\n\n  \nann:" + good + "\n", wantUsers: []string{"ann"}},
		{name: "as Apache writes it", content: "ann:" + apacheHash + "\n", wantUsers: []string{"ann"}},
		{name: "odd names", content: "ann@acme.com:" + good + "\nJörg Ä:" + good + "\n-:" + good + "\na/b:" + good + "\n", wantUsers: []string{"ann@acme.com", "Jörg Ä", "-", "a/b"}},
		{name: "no colon", content: "ann\nbob:" + good + "\n", wantUsers: []string{"bob"}, wantProblems: []string{"line 1: is not name:hash"}},
		{name: "plain text", content: "ann:hunter2\n", wantProblems: []string{"line 1: has no bcrypt hash; make one with: htpasswd -B"}},
		{name: "other hashes", content: "ann:$apr1$x$y\nbob:{SHA}x=\n", wantProblems: []string{
			"line 1: has no bcrypt hash; make one with: htpasswd -B", "line 2: has no bcrypt hash; make one with: htpasswd -B"}},
		{name: "a hash cut short", content: "ann:" + good[:59] + "\n", wantProblems: []string{"line 1: has no bcrypt hash; make one with: htpasswd -B"}},
		{name: "a hash with more after it", content: "ann:" + good + "x\n", wantProblems: []string{"line 1: has no bcrypt hash; make one with: htpasswd -B"}},
		{name: "a ruinous cost", content: "ann:$2a$31$" + good[7:] + "\n", wantProblems: []string{"line 1: has a bcrypt cost of 31; up to 16 is accepted"}},
		{name: "the words of rules", content: "*:" + good + "\n?:" + good + "\n", wantProblems: []string{
			"line 1: has a name that cannot be used", "line 2: has a name that cannot be used"}},
		{name: "no name", content: ":" + good + "\n", wantProblems: []string{"line 1: has a name that cannot be used"}},
		{name: "not UTF-8", content: "\xff:" + good + "\n", wantProblems: []string{"line 1: has a name that cannot be used"}},
		{name: "twice", content: "ann:" + good + "\nann:" + apacheHash + "\n", wantUsers: []string{"ann"},
			wantProblems: []string{"line 2: repeats a user; the first line of a name counts"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseHtpasswd(strings.NewReader(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.wantUsers, h.Users()); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.wantProblems, h.Problems()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHtpasswdTooLarge(t *testing.T) {
	_, err := parseHtpasswd(strings.NewReader(strings.Repeat("#\n", maxHtpasswdSize/2) + "#"))
	if !errors.Is(err, conan.ErrInvalid) {
		t.Errorf("error %v, want invalid", err)
	}
}

func TestHtpasswdChanges(t *testing.T) {
	one, two := cheapHash(t, "one"), cheapHash(t, "two")
	tests := []struct {
		name, before string
		change       func(*Htpasswd) error
		want         string
	}{
		{"add to nothing", "", func(h *Htpasswd) error { return h.Set("ann", one) }, "ann:" + one + "\n"},
		{"add at the end", "# team\nbob:" + one + "\n", func(h *Htpasswd) error { return h.Set("ann", two) }, "# team\nbob:" + one + "\nann:" + two + "\n"},
		{"replace in place", "ann:" + one + "\nbob:" + one + "\n", func(h *Htpasswd) error { return h.Set("ann", two) }, "ann:" + two + "\nbob:" + one + "\n"},
		{"replace what was damaged or repeated", "ann:{SHA}x\nbob:" + one + "\nann:" + one + "\n", func(h *Htpasswd) error { return h.Set("ann", two) }, "ann:" + two + "\nbob:" + one + "\n"},
		{"remove", "ann:" + one + "\n#ann:\nbob:" + one + "\nann:{SHA}x\n", func(h *Htpasswd) error { return removed(h, "ann", true) }, "#ann:\nbob:" + one + "\n"},
		{"remove nobody", "ann:" + one + "\nwhat is this\n", func(h *Htpasswd) error { return removed(h, "eve", false) }, "ann:" + one + "\nwhat is this\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "htpasswd")
			h, err := parseHtpasswd(strings.NewReader(tt.before))
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.change(h); err != nil {
				t.Fatal(err)
			}
			if err := WriteHtpasswd(path, h); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
				t.Errorf("error %v, file (-want +got):\n%s", err, diff)
			}
		})
	}
}

func removed(h *Htpasswd, user string, want bool) error {
	if h.Remove(user) != want {
		return errors.New("Remove told the contrary")
	}
	return nil
}

func TestHtpasswdSetRefuses(t *testing.T) {
	good := cheapHash(t, "x")
	tests := []struct{ name, user, hash string }{
		{"empty name", "", good}, {"colon", "a:b", good}, {"newline", "a\nb", good}, {"comment", "#a", good}, {"star", "*", good},
		{"question mark", "?", good}, {"blank at the end", "a ", good}, {"not UTF-8", "\xff", good}, {"too long", strings.Repeat("a", maxUserName+1), good},
		{"no hash", "ann", ""}, {"password", "ann", "hunter2"}, {"newline in the hash", "ann", good + "\neve:" + good},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h Htpasswd
			err := h.Set(tt.user, tt.hash)
			if !errors.Is(err, conan.ErrInvalid) || len(h.lines) != 0 {
				t.Errorf("error %v, %d lines; want it refused", err, len(h.lines))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestWriteHtpasswd(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	var h Htpasswd
	if err := h.Set("ann", cheapHash(t, "x")); err != nil {
		t.Fatal(err)
	}
	if err := WriteHtpasswd(link, &h); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(target)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want that of the file before", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	got, err := ReadHtpasswd(link)
	if diff := cmp.Diff([]string{"ann"}, got.Users()); err != nil || diff != "" {
		t.Errorf("error %v, users (-want +got):\n%s", err, diff)
	}
	fresh := filepath.Join(t.TempDir(), "htpasswd")
	if err := WriteHtpasswd(fresh, &h); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want a new file of mode 0600", info.Mode(), err)
	}
	if err := WriteHtpasswd(filepath.Join(dir, "none", "htpasswd"), &h); err == nil {
		t.Error("a folder that is not there: no error")
	}
	if _, err := ReadHtpasswd(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: error %v, want not exist", err)
	}
}

func TestHashPassword(t *testing.T) {
	for _, password := range []string{"", "a", "äöü", strings.Repeat("a", 73), strings.Repeat("ä", 37)} {
		if _, err := HashPassword(password); !errors.Is(err, conan.ErrInvalid) {
			t.Errorf("a password of %d bytes: error %v, want invalid", len(password), err)
		}
	}
	hash, err := HashPassword("pä:ss")
	if err != nil || bcrypt.CompareHashAndPassword([]byte(hash), []byte("pä:ss")) != nil {
		t.Errorf("hash %q, error %v: it is not the password's", hash, err)
	}
	if problem := checkHash(hash); problem != "" {
		t.Errorf("our own hash %s", problem)
	}
}

// value reads a counter or a gauge.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// hashes are the users of a content.
func (h *Htpasswd) hashes() map[string]string {
	table := make(map[string]string)
	for _, l := range h.lines {
		if l.user != "" {
			table[l.user] = l.hash
		}
	}
	return table
}

// hash and has look a user up.
func (u *userFile) hash(user string) string {
	a, _ := u.account(user)
	return a.hash
}

func (u *userFile) has(user string) bool {
	_, ok := u.account(user)
	return ok
}

// userFileWith makes a watched file with this content and a log of what it says.
func userFileWith(t *testing.T, content string) (*userFile, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	u := &userFile{
		path:    filepath.Join(t.TempDir(), "htpasswd"),
		log:     zap.New(core),
		now:     time.Now,
		tokens:  Tokens{secret: testSecret, now: time.Now},
		metrics: NewMetrics(nil),
	}
	writeOld(t, u.path, content)
	return u, logs
}

// writeOld writes a file that looks settled, so that a look at it from outside is enough.
func writeOld(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func TestUserFileReadsAgain(t *testing.T) {
	one, two := cheapHash(t, "one"), cheapHash(t, "two")
	u, logs := userFileWith(t, "ann:"+one+"\n")
	wantHash := func(when, user, want string) {
		t.Helper()
		if got := u.hash(user); got != want {
			t.Errorf("%s: %s has the hash %q, want %q", when, user, got, want)
		}
	}
	wantHash("at first", "ann", one)
	wantHash("again", "ann", one)
	if n := logs.FilterMessage("htpasswd file read").Len(); n != 1 {
		t.Errorf("read %d times without a change", n)
	}

	if err := os.WriteFile(u.path, []byte("ann:"+two+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantHash("after a change of one length", "ann", two)
	tick := time.Now()
	for _, hash := range []string{one, two} {
		if err := os.WriteFile(u.path, []byte("ann:"+hash+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(u.path, tick, tick); err != nil {
			t.Fatal(err)
		}
		wantHash("after changes within one tick of the clock", "ann", hash)
	}

	var h Htpasswd
	if err := h.Set("bob", two); err != nil {
		t.Fatal(err)
	}
	if err := WriteHtpasswd(u.path, &h); err != nil {
		t.Fatal(err)
	}
	wantHash("after a replacement", "bob", two)
	wantHash("after a replacement", "ann", "")

	if err := os.Remove(u.path); err != nil {
		t.Fatal(err)
	}
	wantHash("without a file", "bob", "")
	writeOld(t, u.path, "ann:"+one+"\n")
	wantHash("with a file again", "ann", one)
}

// The users of a changed file that cannot be read stay for the time of a repair, and no longer.
func TestUserFileUnreadable(t *testing.T) {
	one := cheapHash(t, "one")
	u, logs := userFileWith(t, "ann:"+one+"\n")
	now := time.Now()
	u.now = func() time.Time { return now }
	want := func(when, user string, there bool, problem string) {
		t.Helper()
		if u.has(user) != there {
			t.Errorf("%s: %s is there: %v, want %v", when, user, !there, there)
		}
		text := ""
		if err := u.problem(); err != nil {
			text = err.Error()
		}
		if (problem == "") != (text == "") || !strings.Contains(text, problem) {
			t.Errorf("%s: problem %q, want one with %q", when, text, problem)
		}
		ok := 1.0
		if problem != "" {
			ok = 0
		}
		if got := value(t, u.metrics.usersFileOK); got != ok {
			t.Errorf("%s: the metric is %v, want %v", when, got, ok)
		}
	}
	want("at first", "ann", true, "")
	writeOld(t, u.path, strings.Repeat("#\n", maxHtpasswdSize))
	want("with a file too large", "ann", true, "will be refused")
	now = now.Add(closeAfter - time.Second)
	want("a second before the end", "ann", true, "will be refused")
	if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d errors in the log, want one", n)
	}
	now = now.Add(time.Second)
	want("at the end", "ann", false, "are refused")
	want("after the end", "ann", false, "are refused")
	if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 2 {
		t.Errorf("%d errors in the log, want two", n)
	}
	writeOld(t, u.path, "ann:"+one+"\n")
	want("mended", "ann", true, "")
	writeOld(t, u.path, strings.Repeat("#\n", maxHtpasswdSize))
	want("broken again", "ann", true, "will be refused")
	writeOld(t, u.path, "bob:"+one+"\n")
	want("with other users", "ann", false, "")
	want("with other users", "bob", true, "")
	if err := os.Remove(u.path); err != nil {
		t.Fatal(err)
	}
	want("without a file", "bob", false, "")
}

// A file that cannot be read when the server starts has no last users.
func TestUserFileUnreadableAtStart(t *testing.T) {
	u, _ := userFileWith(t, strings.Repeat("#\n", maxHtpasswdSize))
	if u.has("ann") || u.problem() == nil {
		t.Errorf("users %v, problem %v", u.table(), u.problem())
	}
}

func TestUserFileTellsNoSecrets(t *testing.T) {
	u, logs := userFileWith(t, "ann:hunter2\nhunter3\n")
	u.table()
	if n := logs.FilterMessage("htpasswd file has damaged lines, which are left out").Len(); n != 1 {
		t.Errorf("%d reports of damaged lines, want one", n)
	}
	for _, entry := range logs.All() {
		for key, value := range entry.ContextMap() {
			if text, ok := value.([]any); ok {
				value = strings.Join(texts(text), " ")
			}
			if text, ok := value.(string); ok && strings.Contains(text, "hunter") {
				t.Errorf("%s tells a secret: %s", key, text)
			}
		}
	}
}

func texts(values []any) []string {
	var list []string
	for _, v := range values {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// Whatever a file holds: reading never fails, writing changes no user, and setting one user
// leaves the others alone.
func FuzzHtpasswd(f *testing.F) {
	hash := cheapHash(f, "x")
	f.Add("ann:"+hash+"\n# c\n\nbob:{SHA}x\nann:"+apacheHash+"\r\n", "ann")
	f.Add("\ufeff*:"+hash+"\n:\n::\n", "a b")
	f.Add("a\r\r\n#a:"+hash+"\n\x00:"+hash, "#a")
	f.Fuzz(func(t *testing.T, content, user string) {
		h, err := parseHtpasswd(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		before := h.hashes()
		again, err := parseHtpasswd(strings.NewReader(string(h.format())))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, again.hashes()); diff != "" {
			t.Fatalf("writing changed the users:\n%s", diff)
		}
		if err := h.Set(user, hash); err != nil {
			return
		}
		after, err := parseHtpasswd(strings.NewReader(string(h.format())))
		if err != nil {
			t.Fatal(err)
		}
		before[user] = hash
		if diff := cmp.Diff(before, after.hashes()); diff != "" {
			t.Fatalf("setting %q changed others:\n%s", user, diff)
		}
		after.Remove(user)
		delete(before, user)
		if diff := cmp.Diff(before, after.hashes()); diff != "" {
			t.Fatalf("removing %q changed others:\n%s", user, diff)
		}
	})
}
