package faults

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// figure is one line of the table.
type figure struct {
	Check    string
	What     string
	Demanded string
	Measured string
	Reached  bool
}

func (f figure) verdict() string {
	if f.Reached {
		return "yes"
	}
	return "NO"
}

// report is the outcome of a run.
type report struct {
	Machine string
	Command string
	Seed    uint64
	Figures []figure
}

func (r *report) add(f figure) { r.Figures = append(r.Figures, f) }

// write prints the table, and writes it to a file as Markdown too if file is not empty.
func (r *report) write(file string) error {
	if err := r.writeText(os.Stdout); err != nil || file == "" {
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(file, []byte(r.page(string(old))), 0o644)
}

func (r *report) writeText(w io.Writer) error {
	fmt.Fprintf(w, "machine: %s\ncommand: %s\nseed: %d\n\n", r.Machine, r.Command, r.Seed)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "check\twhat\tdemanded\tmeasured\treached")
	for _, f := range r.Figures {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", f.Check, f.What, f.Demanded, f.Measured, f.verdict())
	}
	return tw.Flush()
}

// The tables stand between these lines of the page; what a person wrote around them stays.
const (
	tableBegin = "<!-- table: written by bench/faults -->"
	tableEnd   = "<!-- end of the table -->"
)

// page puts the table into the text of a page, in place of an older one of the same command, else
// after the others.
func (r *report) page(old string) string {
	before, rest, ok := strings.Cut(old, tableBegin)
	tables, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		before, tables, after = "# What it survives\n\n", "", "\n"
	}
	const head = "\n    go test "
	var kept strings.Builder
	for _, table := range strings.Split(tables, head) {
		line, _, _ := strings.Cut(table, "\n")
		if table = strings.TrimSpace(table); table != "" && "go test "+line != r.Command {
			kept.WriteString(head + table + "\n\n")
		}
	}
	return before + tableBegin + "\n" + kept.String() + r.markdown() + tableEnd + after
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n    %s\n\nSeed %d, on %s.\n\n", r.Command, r.Seed, r.Machine)
	fmt.Fprintln(&b, "| check | what | demanded | measured | reached |\n|---|---|---|---|---|")
	cell := strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", f.Check, cell(f.What), cell(f.Demanded), cell(f.Measured), f.verdict())
	}
	fmt.Fprintln(&b)
	return b.String()
}
