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
		cfg, err := flags.load()
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
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			password, err := readPassword(c.InOrStdin(), c.ErrOrStderr())
			if err != nil {
				return err
			}
			return proxy.SetUser(p, args[0], password)
		},
	}
	remove := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user; tokens of that user stop working",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			return proxy.RemoveUser(p, args[0])
		},
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List the users",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			names, err := proxy.ListUsers(p)
			if err != nil {
				return err
			}
			for _, n := range names {
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
