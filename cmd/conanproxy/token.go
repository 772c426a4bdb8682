package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"conanproxy/proxy/api"
)

func tokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Manage your robot tokens on a server: logins of programs, with some of your rights"}
	c.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return c
}

// newToken is what a token is made of.
type newToken struct {
	Name      string   `json:"name"`
	Read      bool     `json:"read"`
	Write     bool     `json:"write"`
	Pattern   string   `json:"pattern,omitempty"`
	In        []string `json:"in,omitempty"`
	ExpiresIn string   `json:"expires_in,omitempty"`
}

func tokenCreateCommand() *cobra.Command {
	var cl client
	var wanted newToken
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print its secret, which is shown this once",
		Long: "Makes a token and prints its secret, which is shown this once. A program logs in with NAME and the secret as user and\n" +
			"password, or sends the secret as Bearer. It may do what the flags allow and you may do at that moment. An upload needs\n" +
			"--read and --write.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			wanted.Name = args[0]
			var made api.NewToken
			if err := cl.call(c.Context(), http.MethodPost, "tokens", nil, wanted, &made); err != nil {
				return err
			}
			return cl.print(c.OutOrStdout(), made, func() { fmt.Fprintln(c.OutOrStdout(), made.Secret) })
		},
	}
	cl.add(c)
	f := c.Flags()
	f.BoolVar(&wanted.Read, "read", false, "it may read")
	f.BoolVar(&wanted.Write, "write", false, "it may publish and delete")
	f.StringVar(&wanted.Pattern, "pattern", "", "only references that this pattern of a rule matches, like \"*@acme/*\"")
	f.StringSliceVar(&wanted.In, "in", nil, "only in these stores and upstreams, separated by commas")
	f.StringVar(&wanted.ExpiresIn, "expires", "", "how long it is valid, like 720h (default: until it is revoked)")
	return c
}

func tokenListCommand() *cobra.Command {
	return list[api.TokenLine]{
		use: "list", path: "tokens", short: "List your tokens; an administrator sees those of all users",
		line: func(l api.TokenLine) string {
			return fmt.Sprintf("%-20s %-12s %s, expires %s, last used %s", l.Name, l.Owner, allowed(l), moment(l.Expires), moment(l.LastUse))
		},
	}.command()
}

// allowed are the rights of a token for a reader.
func allowed(l api.TokenLine) string {
	var words []string
	if l.Read {
		words = append(words, "read")
	}
	if l.Write {
		words = append(words, "write")
	}
	if l.Pattern != "" {
		words = append(words, l.Pattern)
	}
	if len(l.In) > 0 {
		words = append(words, "in "+strings.Join(l.In, ","))
	}
	return strings.Join(words, " ")
}

// moment is a time for a reader; the zero time is none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

func tokenRevokeCommand() *cobra.Command {
	var cl client
	c := &cobra.Command{
		Use: "revoke NAME", Short: "End a token at once, with every login that was made with it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var done struct {
				Revoked string `json:"revoked"`
			}
			if err := cl.call(c.Context(), http.MethodPost, "tokens/revoke", nil, map[string]string{"name": args[0]}, &done); err != nil {
				return err
			}
			return cl.print(c.OutOrStdout(), done, func() { fmt.Fprintf(c.OutOrStdout(), "token %s is revoked\n", done.Revoked) })
		},
	}
	cl.add(c)
	return c
}
