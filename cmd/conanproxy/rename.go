package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

func renameCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give a store or upstream another name in the data (the server must be stopped)",
		Long: "Gives what is stored of a store or upstream another name; the configuration is not changed. Rules, views and robot\n" +
			"tokens that have the old name must be changed too. The audit keeps the old name. The server must be stopped: the\n" +
			"command takes the lock of the data directory.",
		Args: cobra.ExactArgs(2),
	}
	onDataDir(c, true, func(ctx context.Context, cfg *config.Config, args []string) error {
		if err := rename(ctx, cfg.DataDir, args[0], args[1]); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s is %s now; change the configuration and the robot tokens that name it\n", args[0], args[1])
		return nil
	})
	return c
}

// rename renames a member. The journal is made anew: without it, after a crash in between, the next
// start makes it.
func rename(ctx context.Context, dir, from, to string) (err error) {
	if err := config.CheckMemberName(to); err != nil {
		return usageError{err}
	}
	if err := checkDataDir(dir); err != nil {
		return err
	}
	lock, err := lockDataDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	db, err := index.OpenExisting(ctx, indexPath(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := os.Remove(journalPath(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the journal: %w", err)
	}
	renamed := db.RenameMember(ctx, from, to)
	if errors.Is(renamed, conan.ErrNotFound) || errors.Is(renamed, conan.ErrConflict) {
		renamed = usageError{renamed}
	}
	return errors.Join(renamed, db.KeepJournal(ctx, journalPath(dir)))
}
