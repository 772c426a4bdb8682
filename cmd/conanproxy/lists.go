package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"conanproxy/internal/index"
	"conanproxy/proxy/api"
)

// list is a command that shows the lines of a list of the API.
type list[T any] struct {
	use, short string
	path       string         // of the API
	args       [][2]string    // its query arguments: name and help of a flag each
	line       func(T) string // as it is shown
}

func (l list[T]) command() *cobra.Command {
	var cl client
	c := &cobra.Command{Use: l.use, Short: l.short}
	c.RunE = func(c *cobra.Command, _ []string) error {
		query := url.Values{}
		for _, arg := range l.args {
			if value := c.Flag(arg[0]).Value.String(); value != "" {
				query.Set(arg[0], value)
			}
		}
		lines, err := pages[T](c.Context(), &cl, l.path, query)
		if err != nil {
			return err
		}
		return cl.print(c.OutOrStdout(), lines, func() {
			for _, line := range lines {
				fmt.Fprintln(c.OutOrStdout(), l.line(line))
			}
		})
	}
	cl.add(c)
	for _, arg := range l.args {
		c.Flags().String(arg[0], "", arg[1])
	}
	return c
}

// pages reads every page of a list.
func pages[T any](ctx context.Context, cl *client, path string, query url.Values) ([]T, error) {
	query.Set("limit", "1000")
	all := []T{}
	for {
		var page api.Page[T]
		if err := cl.call(ctx, http.MethodGet, path, query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Lines...)
		if page.Next == 0 {
			return all, nil
		}
		query.Set("before", strconv.FormatInt(page.Next, 10))
	}
}

func trashCommand() *cobra.Command {
	return list[api.TrashLine]{
		use: "trash", path: "trash", short: "List what can be restored in a store, the last removed first",
		args: [][2]string{{"in", "the store (required)"}},
		line: func(l api.TrashLine) string {
			return fmt.Sprintf("%s  %-12s %10d bytes  %s", l.Removed.Format(time.RFC3339), named(l.By), l.Bytes, l.Revision)
		},
	}.command()
}

func pinsCommand() *cobra.Command {
	return list[api.PinLine]{
		use: "pins", path: "pins", short: "List the pins in a store or upstream, the last one first (for administrators)",
		args: [][2]string{{"in", "the store or upstream (required)"}},
		line: func(l api.PinLine) string {
			return fmt.Sprintf("%s  %-12s %s", l.Time.Format(time.RFC3339), l.Owner, l.Revision)
		},
	}.command()
}

func hidesCommand() *cobra.Command {
	return list[api.HideLine]{
		use: "hides", path: "hides", short: "List the hidden revisions that you may show again",
		line: func(l api.HideLine) string {
			return fmt.Sprintf("%d  %s  %s  %s: %s (%s, %s)", l.ID, orAll("in", l.Member), orAll("view", l.View), l.Revision, l.Reason,
				named(l.By), l.Time.Format(time.RFC3339))
		},
	}.command()
}

// orAll is the scope of a hide.
func orAll(what, name string) string {
	if name == "" {
		return what + " all"
	}
	return what + " " + name
}

func usageCommand() *cobra.Command {
	return list[api.UsageLine]{
		use: "usage", path: "usage", short: "Tell how much each store and upstream has (for administrators)",
		args: [][2]string{{"by", "name or uploader: the largest parts of the members, by the names of packages or by uploaders"}},
		line: usageText,
	}.command()
}

func usageText(l api.UsageLine) string {
	text := fmt.Sprintf("%-8s %-20s ", l.Kind, l.Member)
	if part := l.Name + l.Uploader; part != "" {
		text += fmt.Sprintf("%-20s ", part)
	}
	text += fmt.Sprintf("%6d references %6d recipes %6d packages %14d bytes %14d in the trash", l.References, l.Recipes, l.Packages, l.Bytes, l.TrashBytes)
	if l.Quota > 0 {
		text += fmt.Sprintf(", %d%% of its quota", 100*l.Bytes/l.Quota)
	}
	return text
}

func auditCommand() *cobra.Command {
	return list[api.AuditLine]{
		use: "audit", path: "audit", short: "List every change, the newest first (for administrators)",
		args: [][2]string{
			{"since", "a date or time of RFC 3339"},
			{"until", "a date or time of RFC 3339, exclusive"},
			{"user", "only what this user did"},
			{"action", fmt.Sprintf("only this action, one of %q", index.Actions)},
		},
		line: func(l api.AuditLine) string {
			return fmt.Sprintf("%s  %-12s %-15s %-9s %-8s %s", l.Time.Format(time.RFC3339), named(l.User), l.Address, l.Action, l.Member, l.Target)
		},
	}.command()
}

// named is the name of a user in a list.
func named(user string) string {
	if user == "" {
		return "(anonymous)"
	}
	return user
}
