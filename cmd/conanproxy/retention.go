package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"conanproxy/proxy/api"
)

// retentionCommand asks a running server to remove what a store no longer needs.
func retentionCommand() *cobra.Command {
	var cl client
	var in string
	var run, yes bool
	c := &cobra.Command{
		Use: "retention", Short: "Tell what a store no longer needs by its rules, or remove it", Args: cobra.NoArgs,
		Long: "Tells what the retention rules of a store would remove and why, and what a rule selects but stays: it is named by a root,\n" +
			"hidden, or has packages that stay. With --run it removes what it tells: it goes to the trash.\n" +
			"Exit code 0: it was done; 1: it failed; 2: wrong usage, a store without rules, or a root that cannot be read.",
		RunE: func(c *cobra.Command, _ []string) error {
			send := func(dry bool) (report api.Report, err error) {
				body := map[string]any{"in": in, "dry_run": dry}
				return report, cl.call(c.Context(), http.MethodPost, "retention", nil, body, &report)
			}
			report, err := send(!run || !yes)
			if err != nil {
				return err
			}
			if n := changes(report); run && !yes && n > 0 {
				showReport(c.ErrOrStderr(), report)
				if err := confirm(os.Stdin, c.ErrOrStderr(), fmt.Sprintf("remove %d revisions?", n)); err != nil {
					return err
				}
				if report, err = send(false); err != nil {
					return err
				}
			}
			return cl.print(c.OutOrStdout(), report, func() { showReport(c.OutOrStdout(), report) })
		},
	}
	cl.add(c)
	c.Flags().StringVar(&in, "in", "", "the store (required)")
	c.Flags().BoolVar(&run, "run", false, "remove; without it nothing is changed")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask before --run removes")
	return c
}
