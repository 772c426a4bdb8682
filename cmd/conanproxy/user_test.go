package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadPassword(t *testing.T) {
	for in, want := range map[string]string{"secret\n": "secret", "secret\r\nmore": "secret", "no newline": "no newline", "": "", "\n": ""} {
		got, err := readPassword(strings.NewReader(in), io.Discard)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "%!") {
			t.Errorf("%q: the text of the error is broken: %v", in, err)
		}
	}
}

// given is the password that a command would have read.
func given(password string) func() (string, error) {
	return func() (string, error) { return password, nil }
}

func TestUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	for _, name := range []string{"ann", "bob"} {
		if err := addUser(file, name, given("secret")); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeUser(file, "ann"); err != nil {
		t.Fatal(err)
	}
	if err := removeUser(file, "ann"); err == nil {
		t.Error("a user that does not exist was removed")
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(b), "bob:$2") || strings.Contains(string(b), "secret") {
		t.Errorf("file %q, %v", b, err)
	}
	var list bytes.Buffer
	if err := listUsers(file, &list); err != nil || list.String() != "bob\n" {
		t.Errorf("users %q, %v", list.String(), err)
	}
}

// Adding never replaces a password, and only an existing user gets a new one.
func TestPasswordsAreNotOverwrittenSilently(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := addUser(file, "ann", given("secret")); err != nil {
		t.Fatal(err)
	}
	before := contentOf(t, file)
	unread := func() (string, error) {
		t.Error("a password was asked for")
		return "", nil
	}
	if err := addUser(file, "ann", unread); err == nil || !strings.Contains(err.Error(), "user password ann") {
		t.Errorf("adding ann again: %v", err)
	}
	if err := changePassword(file, "bob", unread); err == nil {
		t.Error("bob, who does not exist, got a password")
	}
	if got := contentOf(t, file); got != before {
		t.Errorf("the file was %q and is %q", before, got)
	}
	if err := changePassword(file, "ann", given("another")); err != nil || contentOf(t, file) == before {
		t.Errorf("ann has the old password: %v", err)
	}
}

func TestShortPasswordsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := addUser(file, "ann", given("x")); err == nil {
		t.Error("a password of one letter was taken")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}
	if got := run(context.Background(), []string{"user", "add", "ann:x", "--file", file}); got == exitOK {
		t.Error("a name with a colon was taken")
	}
}
