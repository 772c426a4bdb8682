// Command conanproxy is a caching pull-through proxy, a mirror and a publish target for Conan.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2 // bad usage or configuration
	exitUnsound = 3 // the stored data is not as it should be
)

// version is set by the linker for releases; otherwise the module's own version is shown.
var version = ""

// usageError marks wrong arguments or a wrong configuration: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// unsoundError marks data that is not as it should be, found by a command that worked: exit code 3.
type unsoundError struct{ error }

func (e unsoundError) Unwrap() error { return e.error }

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "conanproxy",
		Short:         "A caching pull-through proxy, mirror and publish target for Conan",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	addGroup(root, "The server and its configuration:", serveCommand(), configCommand(), userCommand(), healthcheckCommand(), versionCommand())
	addGroup(root, "Its data, on the same machine:", backupCommand(), fsckCommand(), gcCommand(), rebuildCommand(), renameCommand())
	addGroup(root, "Packages of a running server:", explainCommand(), promoteCommand(), removeCommand(), restoreCommand(), trashCommand(),
		retentionCommand(), hideCommand(), unhideCommand(), hidesCommand(), importCommand(), bundleCommand())
	addGroup(root, "What a running server keeps and forgets:", purgeCommand(), pinCommand(), unpinCommand(), pinsCommand())
	addGroup(root, "Operating a running server:", usageCommand(), auditCommand(), changesCommand(), jobCommand(), tokenCommand())
	refuseWrongArguments(root)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "conanproxy: "+err.Error())
	var usage usageError
	var unsound unsoundError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &unsound):
		return exitUnsound
	}
	return exitFailed
}

// addGroup adds commands below a title of their own in the help.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, c := range commands {
		c.GroupID = title
	}
	root.AddCommand(commands...)
}

// refuseWrongArguments makes wrong arguments of a command and of those below it a usage error. A
// command that only groups others prints its help.
func refuseWrongArguments(c *cobra.Command) {
	c.Args = usageArgs(c.Args)
	if c.Run == nil && c.RunE == nil {
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	for _, sub := range c.Commands() {
		refuseWrongArguments(sub)
	}
}

// usageArgs makes wrong arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintln(c.OutOrStdout(), "conanproxy", versionText())
		},
	}
}

// versionText is the release's version, else the commit that was built, else "devel".
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
