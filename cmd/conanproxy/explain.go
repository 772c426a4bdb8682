package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"conanproxy/internal/conan"
	"conanproxy/internal/selection"
	"conanproxy/proxy/api"
)

// explaining is the command explain.
type explaining struct {
	client
	view, generation string
	profile, graph   string // files
}

func explainCommand() *cobra.Command {
	var e explaining
	c := &cobra.Command{
		Use: "explain [REFERENCE]", Short: "Tell why a reference, revision or package has the answer that it has", Args: cobra.MaximumNArgs(1),
		Long: "Tells what each store and upstream of a view says about name/version[@user/channel][#RREV[:PACKAGE_ID[#PREV]]], by which\n" +
			"rule it is hidden or not asked for, and which one answers and why. Upstreams are asked as for a client that installs it.\n" +
			"For a package id that is not there, and with --profile or --graph, it lists the nearest binaries that are there, and the\n" +
			"settings, options and requirements in which they differ. With --graph and without REFERENCE it explains every package\n" +
			"that the client did not find.\n" +
			"Exit code 0: it was explained, whatever the answer is; 1: it failed; 2: wrong usage.",
		RunE: e.run,
	}
	e.client.add(c)
	c.Flags().StringVar(&e.view, "view", "", "the store, upstream or view; empty: the one at the root")
	c.Flags().StringVar(&e.generation, "client", "", "1 or 2: as clients of Conan 1 or Conan 2 get it; empty: whatever the client")
	c.Flags().StringVar(&e.profile, "profile", "", "`FILE` with what was wanted: what conan profile show prints, or a profile")
	c.Flags().StringVar(&e.graph, "graph", "", "`FILE` with a graph in which packages are missing: conan graph info --format=json")
	return c
}

func (e *explaining) run(c *cobra.Command, args []string) error {
	questions, err := e.questions(args)
	if err != nil {
		return usageError{err}
	}
	answers := make([]api.Explanation, len(questions))
	for i, q := range questions {
		q.Set("view", e.view)
		q.Set("client", e.generation)
		if err := e.call(c.Context(), http.MethodGet, "explain", q, nil, &answers[i]); err != nil {
			return err
		}
	}
	if e.graph == "" {
		return e.print(c.OutOrStdout(), answers[0], func() { showExplanation(c.OutOrStdout(), answers[0]) })
	}
	return e.print(c.OutOrStdout(), answers, func() {
		for i, answer := range answers {
			if i > 0 {
				fmt.Fprintln(c.OutOrStdout())
			}
			fmt.Fprintln(c.OutOrStdout(), answer.Reference)
			showExplanation(c.OutOrStdout(), answer)
		}
	})
}

// questions are the query arguments of the calls.
func (e *explaining) questions(args []string) ([]url.Values, error) {
	var asked conan.Revision
	if len(args) > 0 {
		var err error
		if asked, err = conan.ParseRevision(args[0]); err != nil {
			return nil, err
		}
	}
	switch {
	case e.graph != "" && e.profile != "":
		return nil, errors.New("--profile and --graph exclude each other: a graph has what its packages want")
	case e.graph != "":
		return e.missing(asked.Ref)
	case len(args) == 0:
		return nil, errors.New("give a REFERENCE, or --graph")
	}
	q := url.Values{"reference": {asked.String()}}
	if e.profile == "" {
		return []url.Values{q}, nil
	}
	text, err := os.ReadFile(e.profile)
	if err != nil {
		return nil, err
	}
	profile, err := selection.ParseProfile(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.profile, err)
	}
	settings, options := profile.For(asked.Ref)
	q["settings"], q["options"] = assignments(settings), assignments(options)
	return []url.Values{q}, nil
}

// missing are the questions about the missing packages of the graph, or those of one reference.
func (e *explaining) missing(only conan.Ref) ([]url.Values, error) {
	text, err := os.ReadFile(e.graph)
	if err != nil {
		return nil, err
	}
	missing, err := selection.MissingBinaries(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.graph, err)
	}
	var questions []url.Values
	for _, m := range missing {
		if !only.IsZero() && m.Ref != only {
			continue
		}
		questions = append(questions, url.Values{
			"reference": {m.String()}, "exact": {"true"},
			"settings": assignments(m.Settings), "options": assignments(m.Options), "requires": m.Requires,
		})
	}
	if len(questions) == 0 {
		return nil, fmt.Errorf("%s: no package that was asked for is missing in it", e.graph)
	}
	return questions, nil
}

// assignments are settings or options as key=value, sorted.
func assignments(pairs map[string]string) []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		list = append(list, key+"="+pairs[key])
	}
	return list
}

// showExplanation prints one line for each member, the answer, and the nearest binaries.
func showExplanation(out io.Writer, e api.Explanation) {
	for _, m := range e.Members {
		showLine(out, "%s: %s", m.Member, m.Text)
	}
	showLine(out, "answer: %d, %s", e.Answer.Status, e.Answer.Text)
	if e.Nearest == nil {
		return
	}
	showLine(out, "nearest: %s", e.Nearest.Text)
	for _, n := range e.Nearest.Binaries {
		where := ""
		if n.Time != nil {
			where = fmt.Sprintf(", published %s, %s", n.Time.Format("2006-01-02 15:04 MST"), n.Member)
		}
		showLine(out, "  %s%s", n.Revision, where)
		if len(n.Differs) == 0 {
			showLine(out, "    equal in everything that was compared")
		}
		for _, d := range n.Differs {
			showLine(out, "    %s %s is %s, wanted %s", d.Kind, d.Key, orNone(d.Has), orNone(d.Wanted))
		}
	}
}

// showLine prints a line. What a terminal would obey is replaced: settings, and texts of upstreams
// and hides, are what others wrote.
func showLine(out io.Writer, format string, args ...any) {
	text := strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, fmt.Sprintf(format, args...))
	fmt.Fprintln(out, text)
}

// orNone is a value as it is shown.
func orNone(value string) string {
	if value == "" {
		return "not there"
	}
	return value
}
