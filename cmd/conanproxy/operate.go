package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"conanproxy/internal/selection"
	"conanproxy/proxy/api"
)

// selected are the flags and arguments of a SELECTION.
type selected struct {
	spec                  selection.Spec
	list, graph, lockfile string
}

func (s *selected) add(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	f := c.Flags()
	f.StringVar(&s.list, "list", "", "`FILE` with a package list: conan list --format=json")
	f.StringVar(&s.graph, "graph", "", "`FILE` with a graph: conan graph info --format=json, or install and create")
	f.StringVar(&s.lockfile, "lockfile", "", "`FILE`: a lockfile of Conan 2 or Conan 1")
	f.StringVar(&s.spec.Query, "query", "", "which packages, as conan's -p takes it, like \"os=Linux and arch=x86_64\"")
	f.IntVar(&s.spec.Latest, "latest", 0, "how many of the newest revisions a pattern means; 0: the number that the command means")
	f.BoolVar(&s.spec.RecipesOnly, "recipes-only", false, "leave packages out")
	f.BoolVar(&s.spec.PackagesOnly, "packages-only", false, "leave recipes out")
}

// read reads the files and checks the whole selection. A wrong one is an error before the server is
// asked.
func (s *selected) read(patterns []string) (selection.Spec, error) {
	spec := s.spec
	spec.Patterns = patterns
	for _, f := range []struct {
		path string
		into *json.RawMessage
	}{{s.list, &spec.List}, {s.graph, &spec.Graph}, {s.lockfile, &spec.Lockfile}} {
		if f.path == "" {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			return spec, usageError{err}
		}
		*f.into = text
	}
	if _, err := spec.Parse(); err != nil {
		return spec, usageError{err}
	}
	return spec, nil
}

// change is a command that changes what a selection names.
type change struct {
	client
	selected
	use, short, long string
	path             string               // of the API
	flags            func(*cobra.Command) // more flags; nil: none
	body             func() map[string]any
	asks             bool          // about every change, not only about a large one
	verb             func() string // in the question; nil: use
	asJob            bool          // it can run in the background
	dry, yes         bool
	background       bool
}

func (ch *change) command() *cobra.Command {
	c := &cobra.Command{
		Use: ch.use + " SELECTION", Short: ch.short,
		Long: ch.long + "\n\nA SELECTION is patterns as `conan list` takes them, and files of the client (--list, --graph, --lockfile).\n" +
			"Exit code 0: it was done; 1: it failed; 2: wrong usage or selection. What the server refuses changes nothing.",
		RunE: ch.run,
	}
	ch.client.add(c)
	ch.selected.add(c)
	c.Flags().BoolVar(&ch.dry, "dry-run", false, "change nothing, only tell what would be done")
	c.Flags().BoolVar(&ch.yes, "yes", false, "do not ask")
	if ch.asJob {
		c.Flags().BoolVar(&ch.background, "background", false, "only start it as a job and print the job's number; `conanproxy job follow NUMBER` shows it")
	}
	ch.flags(c)
	return c
}

// many is the number of revisions above which a command asks before it changes them.
const many = 20

func (ch *change) run(c *cobra.Command, args []string) error {
	if ch.background && ch.dry {
		return usageError{errors.New("--background and --dry-run exclude each other")}
	}
	spec, err := ch.read(args)
	if err != nil {
		return err
	}
	send := func(dry bool) (report api.Report, err error) {
		body := ch.body()
		body["selection"], body["dry_run"] = spec, dry
		return report, ch.call(c.Context(), http.MethodPost, ch.path, nil, body, &report)
	}
	if !ch.dry && !ch.yes {
		plan, err := send(true)
		if err != nil {
			return err
		}
		if n := changes(plan); ch.asks && n > 0 || n > many {
			showReport(c.ErrOrStderr(), plan)
			verb := ch.use
			if ch.verb != nil {
				verb = ch.verb()
			}
			if err := confirm(os.Stdin, c.ErrOrStderr(), fmt.Sprintf("%s %d revisions?", verb, n)); err != nil {
				return err
			}
		}
	}
	if ch.background {
		return ch.start(c, spec)
	}
	report, err := send(ch.dry)
	if err != nil {
		return err
	}
	return ch.print(c.OutOrStdout(), report, func() { showReport(c.OutOrStdout(), report) })
}

// start starts the change as a job.
func (ch *change) start(c *cobra.Command, spec selection.Spec) error {
	body := ch.body()
	body["selection"] = spec
	var job api.JobLine
	if err := ch.call(c.Context(), http.MethodPost, ch.path, url.Values{"job": {"true"}}, body, &job); err != nil {
		return err
	}
	return ch.print(c.OutOrStdout(), job, func() { fmt.Fprintln(c.OutOrStdout(), job.ID) })
}

// changes counts the revisions of a report that are not skipped or kept.
func changes(r api.Report) (n int) {
	for _, rev := range r.Revisions {
		if rev.Outcome != "skipped" && rev.Outcome != "kept" {
			n++
		}
	}
	return n
}

// failures counts the revisions of a report that failed.
func failures(r api.Report) (n int) {
	for _, rev := range r.Revisions {
		if rev.Outcome == "failed" {
			n++
		}
	}
	return n
}

// showReport prints what was done with each revision.
func showReport(out io.Writer, r api.Report) {
	left := "skipped"
	for _, rev := range r.Revisions {
		note := ""
		switch {
		case rev.Reason != "":
			note = ": " + rev.Reason
		case rev.Newest:
			note = " (the newest)"
		}
		if rev.Outcome == "kept" {
			left = "kept"
		}
		fmt.Fprintf(out, "%-8s %s%s\n", rev.Outcome, rev.Revision, note)
		for _, e := range rev.Elsewhere {
			fmt.Fprintf(out, "         %d of its files are also in %s (%s)\n", e.Files, e.Member, e.Place)
		}
	}
	n, failed := changes(r), failures(r)
	end := "done"
	if failed > 0 {
		end = fmt.Sprintf("%d failed", failed)
	}
	if r.DryRun {
		end = "dry run, nothing was changed"
	}
	fmt.Fprintf(out, "%d revisions, %d %s: %s\n", n-failed, len(r.Revisions)-n, left, end)
}

func promoteCommand() *cobra.Command {
	var from, to string
	ch := &change{
		use: "promote", path: "promote", asJob: true, short: "Copy revisions from one store to another",
		long: "Copies revisions from one store to another, all or nothing, with their times. No bytes are copied. Recipes of packages\n" +
			"come along, a revision that is there already is skipped, and other bytes under the same revision end the command.",
	}
	ch.flags = func(c *cobra.Command) {
		c.Flags().StringVar(&from, "from", "", "store that has them (required)")
		c.Flags().StringVar(&to, "to", "", "store that gets them (required)")
	}
	ch.body = func() map[string]any { return map[string]any{"from": from, "to": to} }
	return ch.command()
}

func removeCommand() *cobra.Command {
	var in string
	var now bool
	ch := &change{
		use: "remove", path: "remove", asks: true, asJob: true, short: "Move revisions of a store to its trash",
		long: "Moves revisions of a store to its trash, all or nothing, as `conan remove` does. A recipe goes with its packages. What\n" +
			"was removed can be restored for trash_for. A pinned revision is refused. With --now revisions go for good, also those that\n" +
			"are in the trash, with their pins and history; the report says which members have files with the same bytes.",
	}
	ch.flags = func(c *cobra.Command) {
		c.Flags().StringVar(&in, "in", "", "the store (required)")
		c.Flags().BoolVar(&now, "now", false, "remove for good: from the trash and the history too, also what is pinned")
	}
	ch.body = func() map[string]any { return map[string]any{"in": in, "now": now} }
	ch.verb = func() string {
		if now {
			return "This cannot be undone, and no point in time will show them any more: remove for good"
		}
		return "remove"
	}
	return ch.command()
}

func restoreCommand() *cobra.Command {
	ch := &change{
		use: "restore", path: "restore", asJob: true, short: "Bring revisions back from the trash of a store",
		long: "Brings revisions back from the trash of a store with their times, all or nothing. A recipe comes with the packages\n" +
			"that were removed with it. A revision that was published again since is an error.",
	}
	inStore(ch)
	return ch.command()
}

func pinCommand() *cobra.Command {
	ch := &change{
		use: "pin", path: "pin", short: "Keep revisions from eviction and removal (for administrators)",
		long: "Keeps revisions of an upstream in the cache, until they are unpinned, and revisions of a store from retention and removal.\n" +
			"What an upstream's cache lacks is downloaded first, all files of each revision, and a package's recipe is pinned too. What is\n" +
			"pinned takes at most 80 % of cache.max_size. A pin is yours; others can have theirs on the same revision.",
	}
	inMember(ch)
	return ch.command()
}

func unpinCommand() *cobra.Command {
	var in, owner string
	var all bool
	ch := &change{
		use: "unpin", path: "unpin", short: "End pins (for administrators)",
		long: "Ends your pins of revisions, or those of another owner. A revision is free when its last pin goes.",
	}
	ch.flags = func(c *cobra.Command) {
		c.Flags().StringVar(&in, "in", "", "the store or upstream (required)")
		c.Flags().StringVar(&owner, "owner", "", "the `USER` whose pins end; yours without it")
		c.Flags().BoolVar(&all, "all", false, "the pins of all owners")
	}
	ch.body = func() map[string]any { return map[string]any{"in": in, "owner": owner, "all": all} }
	return ch.command()
}

func hideCommand() *cobra.Command {
	var in, view, reason string
	ch := &change{
		use: "hide", path: "hide", asks: true, short: "Take revisions out of sight, with a reason that clients are shown",
		long: "Takes revisions out of sight: of one store or upstream (--in) or of all, in one view (--view) or in all. A recipe hides its\n" +
			"packages. Clients get the newest revision that is not hidden; one that names a hidden revision is shown the reason.\n" +
			"`conanproxy unhide` ends it.",
	}
	ch.flags = func(c *cobra.Command) {
		c.Flags().StringVar(&in, "in", "", "only this store or upstream")
		c.Flags().StringVar(&view, "view", "", "only in this view")
		c.Flags().StringVar(&reason, "reason", "", "a sentence that clients are shown (required)")
	}
	ch.body = func() map[string]any { return map[string]any{"in": in, "view": view, "reason": reason} }
	return ch.command()
}

func unhideCommand() *cobra.Command {
	var cl client
	c := &cobra.Command{
		Use: "unhide ID...", Short: "Show hidden revisions again; `conanproxy hides` lists the ids", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var ids []int64
			for _, arg := range args {
				id, err := strconv.ParseInt(arg, 10, 64)
				if err != nil {
					return usageError{fmt.Errorf("%q is not the number of a hide", arg)}
				}
				ids = append(ids, id)
			}
			var report api.Report
			if err := cl.call(c.Context(), http.MethodPost, "unhide", nil, map[string]any{"ids": ids}, &report); err != nil {
				return err
			}
			return cl.print(c.OutOrStdout(), report, func() { showReport(c.OutOrStdout(), report) })
		},
	}
	cl.add(c)
	return c
}

// inStore gives a change the flag that names its store.
func inStore(ch *change) { in(ch, "the store (required)") }

// inMember gives a change the flag that names its store or upstream.
func inMember(ch *change) { in(ch, "the store or upstream (required)") }

func in(ch *change, help string) {
	var in string
	ch.flags = func(c *cobra.Command) { c.Flags().StringVar(&in, "in", "", help) }
	ch.body = func() map[string]any { return map[string]any{"in": in} }
}
