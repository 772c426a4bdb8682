package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/conanserver"
	"conanproxy/internal/config"
	"conanproxy/internal/selection"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
)

// importing is `import`.
type importing struct {
	client
	selected
	from, into, username, sign string
	dry                        bool
}

func importCommand() *cobra.Command {
	i := &importing{}
	c := &cobra.Command{
		Use: "import SELECTION", Short: "Copy revisions from another Conan server into a store (for administrators)",
		Long: "Copies revisions from another Conan server, or from the data folder of a conan_server, into a store, with their times\n" +
			"and in their order. A folder is read by this command, a URL by the server. Every file is checked as on upload. What is there already is skipped, so the command can be run again: after it was ended, or for what was\n" +
			"published since. \"*#*:*#*\" selects everything. The password of --username is read from " + config.ImportPassword + ",\n" +
			"else asked for.",
		RunE: i.run,
	}
	i.client.add(c)
	i.selected.add(c)
	c.Flags().StringVar(&i.from, "from", "", "URL of the server, as `conan remote add` takes it, or a `FOLDER` (required)")
	c.Flags().StringVar(&i.into, "into", "", "store that gets them (required)")
	c.Flags().StringVar(&i.username, "username", "", "user of the old server; empty: anonymous")
	c.Flags().StringVar(&i.sign, "sign", "", "`FILE` of a secret key of minisign, for a folder and a server with verify_keys")
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
	send := i.fromServer
	if !strings.Contains(i.from, "://") {
		send = i.fromFolder
	}
	report, err := send(c.Context(), spec)
	if err != nil {
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

// fromServer has the server copy from another one.
func (i *importing) fromServer(ctx context.Context, spec selection.Spec) (report api.Report, err error) {
	wanted := map[string]any{"from": i.from, "to": i.into, "dry_run": i.dry, "selection": spec}
	if i.username != "" {
		password, err := askSecret(config.ImportPassword, "Password of "+i.username+" at the old server")
		if err != nil {
			return report, err
		}
		wanted["username"], wanted["password"] = i.username, password
	}
	body, err := jsonBody(wanted)
	if err != nil {
		return report, err
	}
	req, err := i.request(ctx, http.MethodPost, "import", nil, body)
	if err != nil {
		return report, err
	}
	return report, i.answer(req, &report)
}

// fromFolder reads the data folder of a conan_server and sends a bundle of each reference.
func (i *importing) fromFolder(ctx context.Context, spec selection.Spec) (report api.Report, err error) {
	folder, err := conanserver.OpenFolder(i.from)
	if err != nil {
		return report, usageError{err}
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	sel, err := spec.Parse()
	if err != nil {
		return report, usageError{err}
	}
	seal, err := sealer(i.sign)
	if err != nil {
		return report, err
	}
	source := transfer.Computed(folder)
	revs, err := transfer.Resolve(ctx, source, sel, selection.AsUpload, nil)
	if err != nil {
		return report, err
	}
	report.DryRun = i.dry
	for len(revs) > 0 {
		n := 1
		for n < len(revs) && revs[n].Ref == revs[0].Ref {
			n++
		}
		part, err := i.sendRevisions(ctx, source, revs[:n], seal)
		if err != nil {
			return report, fmt.Errorf("%s, after %d revisions: %w", revs[0].Ref, len(report.Revisions), err)
		}
		report.Revisions = append(report.Revisions, part.Revisions...)
		revs = revs[n:]
	}
	return report, nil
}

// sendRevisions sends a bundle while it is made.
func (i *importing) sendRevisions(ctx context.Context, source conan.Source, revs []conan.Revision, seal seal) (report api.Report, err error) {
	plan, err := bundle.NewPlan(ctx, source, revs, bundle.Since{})
	if err != nil {
		return report, err
	}
	made := piped(func(w io.Writer) error { return plan.Write(ctx, w) })
	defer made.Close()
	sealed := piped(func(w io.Writer) error { return seal(w, made) })
	defer sealed.Close()
	query := url.Values{"to": {i.into}, "dry_run": {strconv.FormatBool(i.dry)}, "each": {"true"}}
	req, err := i.request(ctx, http.MethodPost, "bundle/apply", query, sealed)
	if err != nil {
		return report, err
	}
	return report, i.answer(req, &report)
}

// piped reads what write writes meanwhile. Closing it ends write.
func piped(write func(io.Writer) error) io.ReadCloser {
	read, to := io.Pipe()
	go func() { to.CloseWithError(write(to)) }()
	return read
}
