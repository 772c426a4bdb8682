package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"conanproxy/internal/identity"
)

func userCommand() *cobra.Command {
	var u userFlags
	c := &cobra.Command{Use: "user", Short: "Manage the users in the htpasswd file (a running server reads it again when it changes)"}
	c.PersistentFlags().StringVar(&u.file, "file", "", "htpasswd file (default: auth.htpasswd_file of the configuration)")
	for _, sub := range []*cobra.Command{
		u.command(&cobra.Command{
			Use:   "add NAME",
			Short: "Add a user; the password is read from the terminal or from standard input",
			Args:  cobra.ExactArgs(1),
		}, func(c *cobra.Command, file string, args []string) error {
			return addUser(file, args[0], passwordFrom(c))
		}),
		u.command(&cobra.Command{
			Use:   "password NAME",
			Short: "Change the password of a user; tokens that were issued with the old one stop working",
			Args:  cobra.ExactArgs(1),
		}, func(c *cobra.Command, file string, args []string) error {
			return changePassword(file, args[0], passwordFrom(c))
		}),
		u.command(&cobra.Command{
			Use:   "remove NAME",
			Short: "Remove a user; tokens of that user stop working",
			Args:  cobra.ExactArgs(1),
		}, func(_ *cobra.Command, file string, args []string) error { return removeUser(file, args[0]) }),
		u.command(&cobra.Command{
			Use:   "list",
			Short: "List the users",
		}, func(c *cobra.Command, file string, _ []string) error { return listUsers(file, c.OutOrStdout()) }),
	} {
		c.AddCommand(sub)
	}
	return c
}

// userFlags say which file has the users.
type userFlags struct {
	config configFlags
	file   string
}

// command makes c a command on that file.
func (u *userFlags) command(c *cobra.Command, work func(c *cobra.Command, file string, args []string) error) *cobra.Command {
	c.RunE = func(c *cobra.Command, args []string) error {
		file, err := u.path()
		if err != nil {
			return err
		}
		return work(c, file, args)
	}
	u.config.add(c)
	return c
}

func (u *userFlags) path() (string, error) {
	if u.file != "" {
		return u.file, nil
	}
	cfg, err := u.config.loadWith(true) // the first user makes the file
	if err != nil {
		return "", err
	}
	if cfg.Auth.HtpasswdFile == "" {
		return "", usageError{errors.New("no htpasswd file: set auth.htpasswd_file in the configuration or give --file")}
	}
	return cfg.Auth.HtpasswdFile, nil
}

// addUser adds a user to the htpasswd file, which is made if it is missing.
func addUser(file, name string, password func() (string, error)) error {
	users, err := identity.ReadHtpasswd(file)
	if errors.Is(err, fs.ErrNotExist) {
		users, err = &identity.Htpasswd{}, nil
	}
	if err != nil {
		return err
	}
	if slices.Contains(users.Users(), name) {
		return fmt.Errorf("user %q exists already; to change the password run: conanproxy user password %s", name, name)
	}
	return setPassword(users, file, name, password)
}

func changePassword(file, name string, password func() (string, error)) error {
	users, err := identity.ReadHtpasswd(file)
	if err != nil {
		return err
	}
	if !slices.Contains(users.Users(), name) {
		return fmt.Errorf("user %q is not in %s", name, file)
	}
	return setPassword(users, file, name, password)
}

func setPassword(users *identity.Htpasswd, file, name string, password func() (string, error)) error {
	text, err := password()
	if err != nil {
		return err
	}
	hash, err := identity.HashPassword(text)
	if err != nil {
		return usageError{err}
	}
	if err := users.Set(name, hash); err != nil {
		return usageError{err}
	}
	return identity.WriteHtpasswd(file, users)
}

func removeUser(file, name string) error {
	users, err := identity.ReadHtpasswd(file)
	if err != nil {
		return err
	}
	if !users.Remove(name) {
		return fmt.Errorf("user %q is not in %s", name, file)
	}
	return identity.WriteHtpasswd(file, users)
}

func listUsers(file string, out io.Writer) error {
	users, err := identity.ReadHtpasswd(file)
	if err != nil {
		return err
	}
	for _, name := range users.Users() {
		fmt.Fprintln(out, name)
	}
	return nil
}

// passwordFrom asks for a password where the command reads its input.
func passwordFrom(c *cobra.Command) func() (string, error) {
	return func() (string, error) { return readPassword(c.InOrStdin(), c.ErrOrStderr()) }
}

// readPassword asks twice on a terminal, without echo; otherwise it takes the first line of in.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", usageError{errors.New("the password on standard input is empty")}
		}
		return line, nil
	}
	ask := func(text string) (string, error) {
		fmt.Fprint(prompt, text)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return string(b), nil
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usageError{errors.New("the two passwords differ")}
	}
	if first == "" {
		return "", usageError{errors.New("the password is empty")}
	}
	return first, nil
}
