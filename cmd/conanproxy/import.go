package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"conanproxy/internal/config"
	"conanproxy/proxy/api"
)

// importing is `import`.
type importing struct {
	client
	selected
	from, into, username string
	dry                  bool
}

func importCommand() *cobra.Command {
	i := &importing{}
	c := &cobra.Command{
		Use: "import SELECTION", Short: "Copy revisions from another Conan server into a store (for administrators)",
		Long: "Copies revisions from another Conan server into a store, with their times and in their order. Every file is checked as\n" +
			"on upload. What is there already is skipped, so the command can be run again: after it was ended, or for what was\n" +
			"published since. \"*#*:*#*\" selects everything. The password of --username is read from " + config.ImportPassword + ",\n" +
			"else asked for.",
		RunE: i.run,
	}
	i.client.add(c)
	i.selected.add(c)
	c.Flags().StringVar(&i.from, "from", "", "`URL` of the server, as `conan remote add` takes it (required)")
	c.Flags().StringVar(&i.into, "into", "", "store that gets them (required)")
	c.Flags().StringVar(&i.username, "username", "", "user of the old server; empty: anonymous")
	c.Flags().BoolVar(&i.dry, "dry-run", false, "change nothing, only tell what would be done")
	return c
}

func (i *importing) run(c *cobra.Command, args []string) error {
	if i.from == "" {
		return usageError{errors.New("--from is missing")}
	}
	spec, err := i.read(args)
	if err != nil {
		return err
	}
	wanted := map[string]any{"from": i.from, "to": i.into, "dry_run": i.dry, "selection": spec}
	if i.username != "" {
		password, err := askSecret(config.ImportPassword, "Password of "+i.username+" at the old server")
		if err != nil {
			return err
		}
		wanted["username"], wanted["password"] = i.username, password
	}
	body, err := jsonBody(wanted)
	if err != nil {
		return err
	}
	req, err := i.request(c.Context(), http.MethodPost, "import", nil, body)
	if err != nil {
		return err
	}
	var report api.Report
	if err := i.answer(req, &report); err != nil {
		return err
	}
	if err := i.print(c.OutOrStdout(), report, func() { showReport(c.OutOrStdout(), report) }); err != nil {
		return err
	}
	if n := failures(report); n > 0 {
		return fmt.Errorf("%d revisions were not copied; run the command again when their cause is mended", n)
	}
	return nil
}
