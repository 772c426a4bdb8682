package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"conanproxy/proxy/api"
)

func explainCommand() *cobra.Command {
	var cl client
	var view, generation string
	c := &cobra.Command{
		Use: "explain REFERENCE", Short: "Tell why a reference, revision or package has the answer that it has", Args: cobra.ExactArgs(1),
		Long: "Tells what each store and upstream of a view says about name/version[@user/channel][#RREV[:PACKAGE_ID[#PREV]]], by which\n" +
			"rule it is hidden or not asked for, and which one answers and why. Upstreams are asked as for a client that installs it.\n" +
			"Exit code 0: it was explained, whatever the answer is; 1: it failed; 2: wrong usage.",
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		query := url.Values{"view": {view}, "client": {generation}, "reference": {args[0]}}
		var e api.Explanation
		if err := cl.call(c.Context(), http.MethodGet, "explain", query, nil, &e); err != nil {
			return err
		}
		return cl.print(c.OutOrStdout(), e, func() { showExplanation(c.OutOrStdout(), e) })
	}
	cl.add(c)
	c.Flags().StringVar(&view, "view", "", "the store, upstream or view; empty: the one at the root")
	c.Flags().StringVar(&generation, "client", "", "1 or 2: as clients of Conan 1 or Conan 2 get it; empty: whatever the client")
	return c
}

// showExplanation prints one line for each member, the answer, and the nearest binaries.
func showExplanation(out io.Writer, e api.Explanation) {
	for _, m := range e.Members {
		fmt.Fprintf(out, "%s: %s\n", m.Member, m.Text)
	}
	fmt.Fprintf(out, "answer: %d, %s\n", e.Answer.Status, e.Answer.Text)
	if e.Nearest == nil {
		return
	}
	fmt.Fprintf(out, "nearest: %s\n", e.Nearest.Text)
	for _, n := range e.Nearest.Binaries {
		fmt.Fprintf(out, "  %s", n.Revision)
		if n.Time != nil {
			fmt.Fprintf(out, ", published %s, %s", n.Time.Format("2006-01-02 15:04 MST"), n.Member)
		}
		fmt.Fprintln(out)
		if len(n.Differs) == 0 {
			fmt.Fprintln(out, "    equal in everything that was compared")
		}
		for _, d := range n.Differs {
			fmt.Fprintf(out, "    %s %s is %s, wanted %s\n", d.Kind, d.Key, orNone(d.Has), orNone(d.Wanted))
		}
	}
}

// orNone is a value as it is shown.
func orNone(value string) string {
	if value == "" {
		return "not there"
	}
	return value
}
