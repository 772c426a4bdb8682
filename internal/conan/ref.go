package conan

import (
	"fmt"
	"strings"
)

// Ref names a recipe without a revision: name/version[@user[/channel]].
// It is comparable and can be a map key. An absent user or channel is the
// empty string; "_" never appears in a Ref.
//
// A Ref made by ParseRef or NewRef is valid for some generation of Conan; ValidV1
// tells whether Conan 1 accepts it too.
type Ref struct {
	Name, Version, User, Channel string
}

// The union of what Conan 1 (2–51 characters, upper case allowed) and Conan 2 (up to 101
// characters) accept. No client creates a version of one character, but Conan 2 installs
// one that another tool has put on a server.
const (
	maxField   = 101
	maxFieldV1 = 51
)

// validField tells a field of a reference, of one of these lengths.
func validField(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '_' && (i == 0 || c != '+' && c != '.' && c != '-') {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// maxRefLength is Conan 2's bound on the text of a whole reference.
const maxRefLength = 200

// NewRef makes a Ref of its four fields. An empty user or channel, or "_", means absent.
// A channel without a user is invalid; a user without a channel is valid in Conan 2 only.
// It returns ErrInvalid with a sentence that names the bad field.
func NewRef(name, version, user, channel string) (Ref, error) {
	if user == "_" {
		user = ""
	}
	if channel == "_" {
		channel = ""
	}
	r := Ref{Name: name, Version: version, User: user, Channel: channel}
	fields := []struct{ what, value string }{{"name", name}, {"version", version}, {"user", user}, {"channel", channel}}
	for i, f := range fields {
		if i >= 2 && f.value == "" {
			continue
		}
		least := 2
		if i == 1 {
			least = 1
		}
		if !validField(f.value, least, maxField) {
			return Ref{}, fmt.Errorf("%w: %s %q is not a valid Conan %s", ErrInvalid, f.what, clip(f.value), f.what)
		}
	}
	if user == "" && channel != "" {
		return Ref{}, fmt.Errorf("%w: channel %q without a user", ErrInvalid, clip(channel))
	}
	if len(r.String()) > maxRefLength {
		return Ref{}, fmt.Errorf("%w: reference is longer than %d characters", ErrInvalid, maxRefLength)
	}
	return r, nil
}

// ParseRef parses name/version, name/version@, name/version@user,
// name/version@user/channel and name/version@_/_. A revision suffix ("#…") is refused.
func ParseRef(s string) (Ref, error) {
	nameVersion, userChannel, _ := strings.Cut(s, "@")
	name, version, ok := strings.Cut(nameVersion, "/")
	if !ok {
		return Ref{}, fmt.Errorf("%w: reference %q is not name/version[@user/channel]", ErrInvalid, clip(s))
	}
	user, channel, hasChannel := strings.Cut(userChannel, "/")
	if hasChannel && (user == "" || channel == "") {
		return Ref{}, fmt.Errorf("%w: reference %q has an empty user or channel", ErrInvalid, clip(s))
	}
	return NewRef(name, version, user, channel)
}

// String is the form that clients print and servers list: never "@_/_".
func (r Ref) String() string {
	switch {
	case r.User == "":
		return r.Name + "/" + r.Version
	case r.Channel == "":
		return r.Name + "/" + r.Version + "@" + r.User
	}
	return r.Name + "/" + r.Version + "@" + r.User + "/" + r.Channel
}

// Path is the form in URLs: name/version/user/channel with "_" for what is absent.
func (r Ref) Path() string {
	return r.Name + "/" + r.Version + "/" + orUnderscore(r.User) + "/" + orUnderscore(r.Channel)
}

// ValidV1 tells whether Conan 1 accepts the reference: one that it does not
// accept aborts a whole search there.
func (r Ref) ValidV1() bool {
	if (r.User == "") != (r.Channel == "") {
		return false
	}
	for _, field := range []string{r.Name, r.Version, r.User, r.Channel} {
		if field != "" && !validField(field, 2, maxFieldV1) {
			return false
		}
	}
	return r.Name != "" && r.Version != ""
}

// IsZero tells whether the Ref is the zero value.
func (r Ref) IsZero() bool { return r == Ref{} }

func orUnderscore(s string) string {
	if s == "" {
		return "_"
	}
	return s
}

// clip bounds untrusted text that is quoted in an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
