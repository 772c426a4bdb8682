package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"conanproxy/proxy"
)

func userCommand() *cobra.Command {
	var flags configFlags
	var file string
	path := func() (string, error) {
		if file != "" {
			return file, nil
		}
		cfg, err := flags.loadWith(true) // the first user makes the file
		if err != nil {
			return "", err
		}
		if cfg.Auth.HtpasswdFile == "" {
			return "", usageError{errors.New("no htpasswd file: set auth.htpasswd_file in the configuration or give --file")}
		}
		return cfg.Auth.HtpasswdFile, nil
	}
	c := &cobra.Command{Use: "user", Short: "Manage the users in the htpasswd file (a running server reads it again by itself)"}
	c.PersistentFlags().StringVar(&file, "file", "", "htpasswd file (default: auth.htpasswd_file of the configuration)")
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user or change the password, read from the terminal or from standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			password, err := readPassword(c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			return setUser(p, args[0], password)
		},
	}
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user; tokens of that user stop working",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			return removeUser(p, args[0])
		},
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List the users",
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			users, err := proxy.ReadHtpasswd(p)
			if err != nil {
				return err
			}
			for _, n := range users.Users() {
				fmt.Fprintln(c.OutOrStdout(), n)
			}
			return nil
		},
	}
	for _, sub := range []*cobra.Command{add, remove, list} {
		flags.add(sub)
		c.AddCommand(sub)
	}
	return c
}

// setUser adds a user to the htpasswd file, which is made if it is missing, or changes the password.
func setUser(path, name, password string) error {
	users, err := proxy.ReadHtpasswd(path)
	if errors.Is(err, os.ErrNotExist) {
		users, err = &proxy.Htpasswd{}, nil
	}
	if err != nil {
		return err
	}
	hash, err := proxy.HashPassword(password)
	if err != nil {
		return usageError{err}
	}
	if err := users.Set(name, hash); err != nil {
		return usageError{err}
	}
	return proxy.WriteHtpasswd(path, users)
}

func removeUser(path, name string) error {
	users, err := proxy.ReadHtpasswd(path)
	if err != nil {
		return err
	}
	if !users.Remove(name) {
		return fmt.Errorf("user %q is not in %s", name, path)
	}
	return proxy.WriteHtpasswd(path, users)
}

// readPassword asks twice on a terminal without echo; otherwise it takes the first line of in.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(in).ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", usageError{fmt.Errorf("no password on standard input: %w", err)}
		}
		return line, nil
	}
	ask := func(what string) (string, error) {
		fmt.Fprint(prompt, what)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(prompt)
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	if first != second {
		return "", usageError{errors.New("the two passwords differ")}
	}
	if first == "" {
		return "", usageError{errors.New("the password is empty")}
	}
	return first, nil
}
