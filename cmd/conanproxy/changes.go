package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"conanproxy/proxy/api"
)

func changesCommand() *cobra.Command {
	var cl client
	var after string
	var follow bool
	c := &cobra.Command{
		Use: "changes", Short: "Tell what changed in the stores of a server",
		Long: "Tells what changed in the stores since a cursor, as far as you may read it, and the cursor for the next time. Without\n" +
			"--after it prints the newest cursor; with --follow it prints each change as it comes, with --json as a line of JSON.\n" +
			"Exit code 0: that worked; 1: it failed, or the cursor is too old or of another server; 2: wrong usage.",
		RunE: func(c *cobra.Command, _ []string) error {
			if follow {
				return cl.followChanges(c, after)
			}
			page, err := cl.changesAfter(c, after)
			if err != nil {
				return err
			}
			return cl.print(c.OutOrStdout(), page, func() {
				for _, l := range page.Lines {
					showChange(c.OutOrStdout(), l)
				}
				fmt.Fprintln(c.OutOrStdout(), "cursor", page.Cursor)
			})
		},
	}
	cl.add(c)
	c.Flags().StringVar(&after, "after", "", "`CURSOR` that an earlier call printed")
	c.Flags().BoolVar(&follow, "follow", false, "go on, and print each change as it comes")
	return c
}

// changesAfter reads every change up to now.
func (c *client) changesAfter(cmd *cobra.Command, after string) (api.Changes, error) {
	all := api.Changes{Lines: []api.ChangeLine{}, Cursor: after}
	for {
		var page api.Changes
		query := url.Values{"after": {all.Cursor}, "limit": {"1000"}}
		if err := c.call(cmd.Context(), http.MethodGet, "changes", query, nil, &page); err != nil {
			return all, err
		}
		before := all.Cursor
		all.Lines, all.Cursor = append(all.Lines, page.Lines...), page.Cursor
		if before == "" || before == page.Cursor {
			return all, nil
		}
	}
}

// followChanges prints changes until the program is ended.
func (c *client) followChanges(cmd *cobra.Command, after string) error {
	return persist(cmd.Context(), func() (more bool, err error) {
		var page api.Changes
		query := url.Values{"after": {after}, "wait": {"25s"}}
		if err := c.call(cmd.Context(), http.MethodGet, "changes", query, nil, &page); err != nil {
			return false, err
		}
		after = page.Cursor
		for _, l := range page.Lines {
			if !c.asJSON {
				showChange(cmd.OutOrStdout(), l)
			} else if err := json.NewEncoder(cmd.OutOrStdout()).Encode(l); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// showChange prints a change and the files that it replaced.
func showChange(out io.Writer, l api.ChangeLine) {
	where := l.Member
	if where == "" {
		where = "(all)"
	}
	if l.View != "" {
		where += " in view " + l.View
	}
	fmt.Fprintf(out, "%s  %-11s %-10s %s\n", moment(l.Time), l.Action, where, l.Revision)
	for _, f := range l.Files {
		fmt.Fprintf(out, "    %s: sha256 %s, was %s\n", f.Name, sumOrNone(f.Now), sumOrNone(f.Was))
	}
}

func sumOrNone(sum string) string {
	if sum == "" {
		return "none"
	}
	return sum
}
