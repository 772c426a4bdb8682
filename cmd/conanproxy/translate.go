package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"conanproxy/internal/conanserver"
)

func translateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "translate SERVER.CONF", Short: "Print the rules of a conan_server in the form of our configuration", Args: cobra.ExactArgs(1),
		Long: "Prints the read and write rules of the server.conf of a conan_server as YAML for our configuration. Users are named in\n" +
			"comments, without their passwords, and so is what has no translation. The file version.txt beside server.conf tells\n" +
			"the version of the server: with 1.x everybody may read and write below their own user name.",
		RunE: func(c *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			version, err := os.ReadFile(filepath.Join(filepath.Dir(args[0]), "version.txt"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			rules := conanserver.Translate(string(text), strings.HasPrefix(string(version), "1."))
			if err != nil {
				rules.Problems = append(rules.Problems, "version.txt is missing: if the server is of version 1.x, add a rule *@{user}/* for \"?\" before the others")
			}
			printRules(c.OutOrStdout(), rules)
			return nil
		},
	}
}

// printRules prints YAML. Every text is quoted as JSON, which is YAML too.
func printRules(out io.Writer, rules conanserver.Rules) {
	for _, problem := range rules.Problems {
		fmt.Fprintf(out, "# NOT TRANSLATED: %s\n", problem)
	}
	for _, user := range rules.Users {
		fmt.Fprintf(out, "# user %q: conanproxy user add\n", user)
	}
	fmt.Fprintln(out, "auth:")
	for _, part := range []struct {
		key  string
		list []conanserver.Rule
	}{{"read", rules.Read}, {"write", rules.Write}} {
		if len(part.list) == 0 {
			fmt.Fprintf(out, "  %s: []\n", part.key)
			continue
		}
		fmt.Fprintf(out, "  %s:\n", part.key)
		for _, rule := range part.list {
			users, _ := json.Marshal(rule.Users) // texts are always JSON
			fmt.Fprintf(out, "    - {pattern: %q, users: %s}\n", rule.Pattern, users)
		}
	}
}
