package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"conanproxy/internal/bundle"
	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/proxy/api"
)

func bundleCommand() *cobra.Command {
	c := &cobra.Command{Use: "bundle", Short: "Carry packages to a server without a network, in a file"}
	c.AddCommand(bundleCreateCommand(), bundleApplyCommand(), bundleShowCommand(), bundleVerifyCommand())
	return c
}

// bundleCreate is `bundle create`.
type bundleCreate struct {
	client
	selected
	from, output, since, sign string
}

func bundleCreateCommand() *cobra.Command {
	b := &bundleCreate{}
	c := &cobra.Command{
		Use: "create SELECTION", Short: "Write revisions and their bytes into a file",
		Long: "Writes revisions of a store, upstream or view with all their files into a bundle: an OCI image layout in one tar.\n" +
			"Recipes of packages come along. A SELECTION is patterns as `conan list` takes them, and files of the client.\n" +
			"The password of a secret key is read from " + config.SignPassword + ", else asked for.",
		RunE: b.run,
	}
	b.client.add(c)
	b.selected.add(c)
	c.Flags().StringVar(&b.from, "from", "", "store, upstream or view that has them; empty: what is at the root")
	c.Flags().StringVar(&b.output, "output", "", "`FILE` to be written (required)")
	c.Flags().StringVar(&b.since, "since", "", "`FILE` of an earlier bundle; what it has is left out")
	c.Flags().StringVar(&b.sign, "sign", "", "`FILE` of a secret key of minisign")
	return c
}

func (b *bundleCreate) run(c *cobra.Command, args []string) error {
	if b.output == "" {
		return usageError{errors.New("--output is missing")}
	}
	spec, err := b.read(args)
	if err != nil {
		return err
	}
	var since bundle.Since
	if b.since != "" {
		earlier, err := openBundle(b.since, nil)
		if err != nil {
			return err
		}
		defer earlier.file.Close()
		since = earlier.Blobs()
	}
	seal, err := sealer(b.sign)
	if err != nil {
		return err
	}
	body, err := jsonBody(map[string]any{"from": b.from, "since": since, "selection": spec})
	if err != nil {
		return err
	}
	req, err := b.request(c.Context(), http.MethodPost, "bundle/create", nil, body)
	if err != nil {
		return err
	}
	tar, err := b.do(req)
	if err != nil {
		return err
	}
	defer tar.Close()
	if err := writeWhole(b.output, func(w io.Writer) error { return seal(w, tar) }); err != nil {
		return err
	}
	return showBundle(c, b.output, nil, false, b.asJSON)
}

// seal copies a bundle and signs it on the way, if it is to be signed.
type seal func(dst io.Writer, src io.Reader) error

// sealer signs with the secret key in a file; without a file bundles stay as they are.
func sealer(file string) (seal, error) {
	if file == "" {
		return func(dst io.Writer, src io.Reader) error { _, err := io.Copy(dst, src); return err }, nil
	}
	key, err := bundle.ReadSecretKey(file, func() (string, error) { return askSecret(config.SignPassword, "Password of the secret key") })
	if err != nil {
		return nil, usageError{err}
	}
	return func(dst io.Writer, src io.Reader) error { return bundle.Sign(dst, src, key) }, nil
}

// writeWhole writes a file that appears under its name when it is whole and on the disk.
func writeWhole(name string, write func(io.Writer) error) error {
	part := name + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

func bundleApplyCommand() *cobra.Command {
	var cl client
	var to string
	var dry bool
	c := &cobra.Command{
		Use: "apply FILE", Short: "Take the revisions of a bundle into a store (for administrators)", Args: cobra.ExactArgs(1),
		Long: "Takes the revisions of a bundle into a store with their times, all or nothing. A revision that is there already is\n" +
			"skipped, and other bytes under the same revision end the command. Applying again changes nothing.",
		RunE: func(c *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return usageError{err}
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			query := url.Values{"to": {to}, "dry_run": {strconv.FormatBool(dry)}}
			req, err := cl.request(c.Context(), http.MethodPost, "bundle/apply", query, f)
			if err != nil {
				return err
			}
			req.ContentLength = info.Size()
			req.Header.Set("Content-Type", "application/octet-stream")
			req.Header.Set("Expect", "100-continue") // a refusal comes before the bytes
			var report api.Report
			if err := cl.answer(req, &report); err != nil {
				return err
			}
			return cl.print(c.OutOrStdout(), report, func() { showReport(c.OutOrStdout(), report) })
		},
	}
	cl.add(c)
	c.Flags().StringVar(&to, "to", "", "store that gets them (required)")
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, only tell what would be done")
	return c
}

func bundleShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show FILE", Short: "List what a bundle has", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return showBundle(c, args[0], nil, false, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func bundleVerifyCommand() *cobra.Command {
	var texts []string
	var asJSON bool
	c := &cobra.Command{
		Use: "verify FILE", Short: "Read a whole bundle and check every digest, and its signature if keys are given", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			keys, err := bundle.ParseKeys(texts)
			if err != nil {
				return usageError{err}
			}
			return showBundle(c, args[0], keys, true, asJSON)
		},
	}
	c.Flags().StringArrayVar(&texts, "key", nil, "public `KEY` of minisign, one of which must have signed the bundle; may be repeated")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// openedBundle is a bundle with its file, which the caller closes.
type openedBundle struct {
	*bundle.Reader
	file *os.File
}

func openBundle(name string, keys []bundle.Key) (openedBundle, error) {
	f, err := os.Open(name)
	if err != nil {
		return openedBundle{}, usageError{err}
	}
	reader, err := bundle.NewReader(f, keys)
	if err != nil {
		f.Close()
		return openedBundle{}, fmt.Errorf("%s: %w", name, err)
	}
	return openedBundle{reader, f}, nil
}

// bundleShown is a bundle as JSON.
type bundleShown struct {
	Name      string          `json:"name"`
	Since     string          `json:"since"` // the earlier bundle; empty: none
	Signed    bool            `json:"signed"`
	Bytes     int64           `json:"bytes"` // of the files that it has
	Revisions []revisionShown `json:"revisions"`
}

type revisionShown struct {
	Revision string    `json:"revision"`
	Time     time.Time `json:"time"`
	Bytes    int64     `json:"bytes"` // of its files, also of those in the earlier bundle
}

// showBundle prints what a bundle has, and reads the whole of it before if it is to be verified.
func showBundle(c *cobra.Command, name string, keys []bundle.Key, whole, asJSON bool) error {
	b, err := openBundle(name, keys)
	if err != nil {
		return err
	}
	defer b.file.Close()
	if whole {
		if err := b.Complete(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	shown := bundleShown{Name: b.Index, Since: b.Since, Signed: b.Signed, Bytes: b.Bytes}
	for _, item := range b.Items() {
		files, err := b.Snapshot(c.Context(), item.Revision)
		if err != nil {
			return err
		}
		shown.Revisions = append(shown.Revisions, revisionShown{item.Revision.String(), item.Time, sizeOf(files.Value)})
	}
	out := c.OutOrStdout()
	return (&client{asJSON: asJSON}).print(out, shown, func() {
		for _, r := range shown.Revisions {
			fmt.Fprintf(out, "%s %12d bytes  %s\n", r.Time.Format(time.RFC3339), r.Bytes, r.Revision)
		}
		fmt.Fprintf(out, "bundle %s: %d revisions, %d bytes, signed: %t\n", shown.Name, len(shown.Revisions), shown.Bytes, shown.Signed)
		if shown.Since != "" {
			fmt.Fprintf(out, "apply bundle %s first\n", shown.Since)
		}
	})
}

func sizeOf(files conan.Snapshot) (total int64) {
	for _, f := range files {
		total += f.Size
	}
	return total
}
