package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"conanproxy/proxy/api"
)

// purge is the command that forgets what an upstream said and sent.
type purge struct {
	client
	selected
	in                           string
	everything, pinned, dry, yes bool
}

func purgeCommand() *cobra.Command {
	var p purge
	c := &cobra.Command{
		Use: "purge {SELECTION | --everything}", Short: "Forget what an upstream said and sent (for administrators)",
		Long: "Forgets what an upstream said and sent about references: lists, \"not found\", refusals and stored files. Whole references\n" +
			"are meant. The next request asks the upstream; while it is down, what was purged is not to be had. What is pinned stays,\n" +
			"unless --pinned is given.",
		RunE: p.run,
	}
	p.client.add(c)
	p.selected.add(c)
	c.Flags().StringVar(&p.in, "in", "", "the upstream (required)")
	c.Flags().BoolVar(&p.everything, "everything", false, "about every reference")
	c.Flags().BoolVar(&p.pinned, "pinned", false, "also what is pinned, with its pins")
	c.Flags().BoolVar(&p.dry, "dry-run", false, "change nothing, only tell what would be forgotten")
	c.Flags().BoolVar(&p.yes, "yes", false, "do not ask")
	return c
}

func (p *purge) run(c *cobra.Command, args []string) error {
	body := map[string]any{"in": p.in, "everything": p.everything, "pinned": p.pinned}
	if !p.everything || len(args) > 0 || p.list+p.graph+p.lockfile != "" {
		spec, err := p.read(args)
		if err != nil {
			return err
		}
		body["selection"] = spec
	}
	send := func(dry bool) (report api.PurgeReport, err error) {
		body["dry_run"] = dry
		return report, p.call(c.Context(), http.MethodPost, "purge", nil, body, &report)
	}
	if !p.dry && !p.yes {
		plan, err := send(true)
		if err != nil {
			return err
		}
		showPurge(c.ErrOrStderr(), plan)
		if err := confirm(os.Stdin, c.ErrOrStderr(), fmt.Sprintf("purge this from %s?", p.in)); err != nil {
			return err
		}
	}
	report, err := send(p.dry)
	if err != nil {
		return err
	}
	return p.print(c.OutOrStdout(), report, func() { showPurge(c.OutOrStdout(), report) })
}

func showPurge(out io.Writer, r api.PurgeReport) {
	end := "done"
	if r.DryRun {
		end = "dry run, nothing was changed"
	}
	fmt.Fprintf(out, "%d stored revisions with %d bytes, %d remembered answers; %d pinned revisions are kept: %s\n",
		r.Revisions, r.Bytes, r.Answers, r.Kept, end)
}
