package identity

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/conan"
)

// Htpasswd is the content of an htpasswd file: one "name:bcrypt hash" per line. Comments and
// lines that are not understood are kept as they are when it is written again. The zero value
// is an empty file. It is not safe for concurrent use.
type Htpasswd struct {
	lines []htpasswdLine
}

type htpasswdLine struct {
	text    string
	user    string // empty for comments, blank and damaged lines
	hash    string
	problem string // why the line is not a user, free of secrets; empty if nothing is wrong
}

// The words that stand for many users in a rule; they are no user names.
const (
	AnyoneWord   = "*"
	LoggedInWord = "?"
)

const (
	maxHtpasswdSize = 4 << 20
	maxUserName     = 255 // bytes
	// maxHashCost is about 4 s of a core per login; a higher cost is a mistake or an attack.
	maxHashCost = 16
)

const (
	minPassword = 4  // characters
	maxPassword = 72 // bytes of UTF-8; bcrypt looks at no more
)

// HashPassword returns the bcrypt hash of a password for an htpasswd file.
// A password that is too short or longer than bcrypt looks at is conan.ErrInvalid.
func HashPassword(password string) (string, error) {
	switch {
	case password == "":
		return "", fmt.Errorf("%w: the password is empty", conan.ErrInvalid)
	case utf8.RuneCountInString(password) < minPassword:
		return "", fmt.Errorf("%w: the password is shorter than %d characters", conan.ErrInvalid, minPassword)
	case len(password) > maxPassword:
		return "", fmt.Errorf("%w: the password is longer than %d bytes", conan.ErrInvalid, maxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	return string(hash), nil
}

// ReadHtpasswd reads a file. A missing one is fs.ErrNotExist; damaged lines are no error, see
// Problems.
func ReadHtpasswd(path string) (*Htpasswd, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the htpasswd file: %w", err)
	}
	defer f.Close()
	h, err := parseHtpasswd(f)
	if err != nil {
		return nil, fmt.Errorf("reading the htpasswd file %s: %w", path, err)
	}
	return h, nil
}

// WriteHtpasswd replaces the file in one step: a reader sees the old or the new content, and a
// crash leaves one of them. Owner, group and mode stay, so that a server which could read the file
// still can; if they cannot be kept, nothing is changed. A new file gets mode 0600. A symbolic link
// stays one.
func WriteHtpasswd(path string, h *Htpasswd) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the htpasswd file: %w", err)
		}
	}()
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".htpasswd-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if err := writeSynced(f, h.format()); err != nil {
		return err
	}
	if err := copyAccess(path, f.Name()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// copyAccess gives a file the owner, group and mode of another one, if that exists.
func copyAccess(from, to string) error {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := copyOwner(info, to); err != nil {
		return fmt.Errorf("keeping the owner of %s: %w", from, err)
	}
	return os.Chmod(to, info.Mode().Perm()) // after the owner, whose change may clear bits
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Users lists the names in the order of the file, without repetitions.
func (h *Htpasswd) Users() []string {
	var names []string
	for _, l := range h.lines {
		if l.user != "" {
			names = append(names, l.user)
		}
	}
	return names
}

// Problems lists what is wrong with the file: one phrase per damaged line with its number,
// without the line's text, which could be a secret.
func (h *Htpasswd) Problems() []string {
	var problems []string
	for i, l := range h.lines {
		if l.problem != "" {
			problems = append(problems, fmt.Sprintf("line %d: %s", i+1, l.problem))
		}
	}
	return problems
}

// Set gives a user a new hash, or adds the user at the end. A name that no file can hold, or
// that means something else in a rule, and a hash that is not bcrypt's are conan.ErrInvalid.
func (h *Htpasswd) Set(user, hash string) error {
	if err := CheckUserName(user); err != nil {
		return err
	}
	if problem := checkHash(hash); problem != "" {
		return fmt.Errorf("%w: user %q: %s", conan.ErrInvalid, user, problem)
	}
	line := htpasswdLine{text: user + ":" + hash, user: user, hash: hash}
	i := slices.IndexFunc(h.lines, func(l htpasswdLine) bool { return l.names(user) })
	if i < 0 {
		h.lines = append(h.lines, line)
		return nil
	}
	h.lines[i] = line
	rest := slices.DeleteFunc(h.lines[i+1:], func(l htpasswdLine) bool { return l.names(user) })
	h.lines = h.lines[:i+1+len(rest)]
	return nil
}

// Remove takes a user out and tells whether there was one. Every line of that name goes, also
// repeated ones and those with a hash that is not understood.
func (h *Htpasswd) Remove(user string) bool {
	before := len(h.lines)
	h.lines = slices.DeleteFunc(h.lines, func(l htpasswdLine) bool { return l.names(user) })
	return len(h.lines) < before
}

// names tells whether the line is meant for the user, damaged or not.
func (l htpasswdLine) names(user string) bool {
	name, _, ok := strings.Cut(l.text, ":")
	return ok && user != "" && name == user && !isComment(l.text)
}

func (h *Htpasswd) format() []byte {
	var b bytes.Buffer
	for _, l := range h.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func parseHtpasswd(r io.Reader) (*Htpasswd, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxHtpasswdSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxHtpasswdSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", conan.ErrInvalid, maxHtpasswdSize)
	}
	h := &Htpasswd{}
	seen := make(map[string]bool)
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimLeft(content, "\ufeff")))
	lines.Buffer(nil, maxHtpasswdSize+1)
	for lines.Scan() {
		line := parseHtpasswdLine(lines.Text())
		if line.user != "" && seen[line.user] {
			line = htpasswdLine{text: line.text, problem: "repeats a user; the first line of a name counts"}
		}
		seen[line.user] = true
		h.lines = append(h.lines, line)
	}
	return h, lines.Err()
}

func parseHtpasswdLine(text string) htpasswdLine {
	line := htpasswdLine{text: text}
	if isComment(text) {
		return line
	}
	user, hash, ok := strings.Cut(text, ":")
	if !ok {
		line.problem = "is not name:hash"
		return line
	}
	if CheckUserName(user) != nil {
		line.problem = "has a name that cannot be used"
		return line
	}
	hash = strings.TrimRight(hash, " \t")
	if line.problem = checkHash(hash); line.problem != "" {
		return line
	}
	line.user, line.hash = user, hash
	return line
}

func isComment(text string) bool {
	text = strings.TrimSpace(text)
	return text == "" || text[0] == '#'
}

// CheckUserName refuses, as conan.ErrInvalid, what an htpasswd line cannot hold, and the two words
// that mean many users in a rule.
func CheckUserName(user string) error {
	if user == "" {
		return fmt.Errorf("%w: a user name is empty", conan.ErrInvalid)
	}
	if len(user) > maxUserName || !utf8.ValidString(user) {
		return fmt.Errorf("%w: a user name is not UTF-8 of up to %d bytes", conan.ErrInvalid, maxUserName)
	}
	if strings.ContainsFunc(user, func(r rune) bool { return r == ':' || !unicode.IsGraphic(r) }) {
		return fmt.Errorf("%w: user name %q has a colon or an invisible character", conan.ErrInvalid, user)
	}
	if user == AnyoneWord || user == LoggedInWord || isComment(user) || strings.TrimSpace(user) != user {
		return fmt.Errorf("%w: %q cannot be a user name", conan.ErrInvalid, user)
	}
	return nil
}

// bcryptHash is what Apache's htpasswd -B and every bcrypt library write.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// checkHash returns what is wrong with a hash, without its text.
func checkHash(hash string) string {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || !bcryptHash.MatchString(hash):
		return "has no bcrypt hash; make one with: htpasswd -B"
	case cost > maxHashCost:
		return fmt.Sprintf("has a bcrypt cost of %d; up to %d is accepted", cost, maxHashCost)
	}
	return ""
}
