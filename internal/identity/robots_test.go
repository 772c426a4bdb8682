package identity

import (
	"crypto/sha256"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"conanproxy/internal/conan"
)

// robotTable are robot tokens by name. All look-ups fail with err unless it is nil.
type robotTable struct {
	robots map[string]*Robot
	err    error
	used   []string
}

func (rt *robotTable) RobotOf(secret [sha256.Size]byte) (*Robot, error) {
	for r := range maps.Values(rt.robots) {
		if r.SHA256 == secret {
			return r, rt.err
		}
	}
	return nil, errors.Join(rt.err, conan.ErrNotFound)
}

func (rt *robotTable) RobotNamed(name string) (*Robot, error) {
	if r := rt.robots[name]; r != nil {
		return r, rt.err
	}
	return nil, errors.Join(rt.err, conan.ErrNotFound)
}

func (rt *robotTable) RobotUsed(name string, _ time.Time) { rt.used = append(rt.used, name) }

// robotWorld is a directory with users ann and bob, and a robot token "bot" of ann that is valid
// for an hour.
type robotWorld struct {
	*Directory
	t      *testing.T
	table  *robotTable
	file   string
	now    time.Time
	secret string
	logged *observer.ObservedLogs
}

func newRobotWorld(t *testing.T) *robotWorld {
	t.Helper()
	core, logged := observer.New(zapcore.DebugLevel)
	w := &robotWorld{
		t: t, table: &robotTable{robots: make(map[string]*Robot)}, file: filepath.Join(t.TempDir(), "users"),
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), logged: logged,
	}
	writeUsers(t, w.file, map[string]string{"ann": "ann's", "bob": "bob's"})
	var err error
	w.Directory, err = New(Options{
		HtpasswdFile: w.file, Secret: testSecret, Robots: w.table, Now: func() time.Time { return w.now }, Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.secret = w.make()
	return w
}

// make makes the token anew and returns its secret.
func (w *robotWorld) make() string {
	w.t.Helper()
	r, secret, err := w.NewRobot("bot", "ann", Rights{Read: true}, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	w.table.robots["bot"] = r
	return secret
}

// session logs the token in and returns what clients send afterwards.
func (w *robotWorld) session() string {
	w.t.Helper()
	token, err := w.IssueToken(loggedIn(w.t, w.Directory, "bot", w.secret))
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *robotWorld) refuses(what, authorization string) {
	w.t.Helper()
	if c, err := w.Identify(w.t.Context(), authorization, here); !errors.Is(err, ErrLogin) {
		w.t.Errorf("%s: caller %q, error %v; want a refusal", what, c.Name, err)
	}
}

func TestARobotLogsIn(t *testing.T) {
	w := newRobotWorld(t)
	for what, authorization := range map[string]string{
		"as a password": loginHeader("bot", w.secret), "as Bearer": "Bearer " + w.secret, "by its session": "Bearer " + w.session(),
	} {
		c, err := w.Identify(t.Context(), authorization, here)
		if err != nil || c.Name != "bot" || c.Robot() == nil || c.Owner().Name != "ann" || c.Owner().Robot() != nil {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
	w.refuses("another name", loginHeader("tob", w.secret))
	w.refuses("its owner's name", loginHeader("ann", w.secret))
	w.refuses("its owner's password", loginHeader("bot", "ann's"))
	other := strings.Repeat("A", len(w.secret)-len(robotPrefix))
	w.refuses("another secret", loginHeader("bot", robotPrefix+other))
	w.refuses("another secret", "Bearer "+robotPrefix+other)
	if c := loggedIn(t, w.Directory, "ann", "ann's"); c.Robot() != nil || c.Owner() != c {
		t.Errorf("a user is the robot %+v", c)
	}
	for _, entry := range w.logged.All() {
		for _, field := range entry.Context {
			if strings.Contains(entry.Message+field.String, w.secret) {
				t.Errorf("the secret is in the log: %s %v", entry.Message, entry.Context)
			}
		}
	}
}

// What ends a token ends what it logged in too, at once.
func TestARobotEnds(t *testing.T) {
	for what, end := range map[string]func(w *robotWorld){
		"expired":                 func(w *robotWorld) { w.now = w.now.Add(time.Hour) },
		"revoked":                 func(w *robotWorld) { delete(w.table.robots, "bot") },
		"made again":              func(w *robotWorld) { w.make() },
		"owner removed":           func(w *robotWorld) { writeUsers(w.t, w.file, map[string]string{"bob": "bob's"}) },
		"a user has its name now": func(w *robotWorld) { writeUsers(w.t, w.file, map[string]string{"ann": "ann's", "bot": "bot's"}) },
	} {
		t.Run(what, func(t *testing.T) {
			w := newRobotWorld(t)
			authorizations := map[string]string{
				"password": loginHeader("bot", w.secret), "Bearer": "Bearer " + w.secret, "session": "Bearer " + w.session(),
			}
			state := loggedIn(t, w.Directory, "bot", w.secret).State()
			end(w)
			for how, authorization := range authorizations {
				w.refuses(how, authorization)
			}
			if _, err := w.Current("bot", state); !errors.Is(err, ErrLogin) {
				t.Errorf("what was made for it: error %v", err)
			}
		})
	}
}

func TestARobotStays(t *testing.T) {
	w := newRobotWorld(t)
	session := w.session()
	w.now = w.now.Add(time.Hour - time.Second)
	writeUsers(t, w.file, map[string]string{"ann": "a new one"})
	for _, bearer := range []string{w.secret, session} {
		if _, err := w.Identify(t.Context(), "Bearer "+bearer, here); err != nil {
			t.Errorf("its owner has a new password, and it has a second left: %v", err)
		}
	}
}

// A look-up that fails says nothing about a token, so its client must not drop it.
func TestALookUpOfARobotFails(t *testing.T) {
	w := newRobotWorld(t)
	session := w.session()
	w.table.err = errors.New("the disk is on fire")
	for _, authorization := range []string{loginHeader("bot", w.secret), "Bearer " + w.secret, "Bearer " + session} {
		if _, err := w.Identify(t.Context(), authorization, here); err == nil || errors.Is(err, ErrLogin) {
			t.Errorf("error %v", err)
		}
	}
}

func TestTheUseOfARobotIsRecorded(t *testing.T) {
	w := newRobotWorld(t)
	for _, authorization := range []string{loginHeader("bot", w.secret), "Bearer " + w.secret} {
		if _, err := w.Identify(t.Context(), authorization, here); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Identify(t.Context(), "Bearer "+w.secret[:len(w.secret)-1]+"x", here); err == nil {
		t.Error("another secret is taken")
	}
	if want := []string{"bot", "bot"}; !slices.Equal(w.table.used, want) {
		t.Errorf("recorded %q, want %q", w.table.used, want)
	}
}

func TestNewRobotRefuses(t *testing.T) {
	w := newRobotWorld(t)
	reads := Rights{Read: true}
	for _, tt := range []struct {
		name   string
		rights Rights
		want   error
	}{
		{"bob", reads, conan.ErrConflict},
		{"", reads, conan.ErrInvalid},
		{"a b", reads, conan.ErrInvalid},
		{"a:b", reads, conan.ErrInvalid},
		{"-a", reads, conan.ErrInvalid},
		{"a\n", reads, conan.ErrInvalid},
		{strings.Repeat("a", 65), reads, conan.ErrInvalid},
		{"x", Rights{}, conan.ErrInvalid},
		{"x", Rights{Read: true, Pattern: "a b"}, conan.ErrInvalid},
		{"x", Rights{Read: true, In: make([]string, maxRobotMembers+1)}, conan.ErrInvalid},
	} {
		if _, _, err := w.NewRobot(tt.name, "ann", tt.rights, 0); !errors.Is(err, tt.want) {
			t.Errorf("%q with %+v: error %v, want %v", tt.name, tt.rights, err, tt.want)
		}
	}
	a, first, _ := w.NewRobot("x", "ann", reads, 0)
	_, second, _ := w.NewRobot("x", "ann", reads, 0)
	if first == second || !isRobotSecret(first) || !a.Expires.IsZero() {
		t.Errorf("secrets %q and %q, expires %v", first, second, a.Expires)
	}
}
