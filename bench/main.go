// Command bench measures conanproxy beside what a user would take instead: nginx with proxy_cache, a conan_server on
// the LAN, a bare handler. It starts everything itself on the loopback, makes its data from a seed, interleaves the
// contestants round by round and prints medians as ratios of this one run.
//
//	go run ./bench                          every row; about an hour
//	go run ./bench -quick                   small sizes, three minutes, a smoke test
//	go run ./bench -only answers,files      some rows
//
// It needs nginx and wrk, and a Python from 3.8 to 3.12 for the real conan_server and clients.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"conanproxy/internal/harness"
)

// options are the flags.
type options struct {
	quick      bool
	only       string
	jsonFile   string
	textFile   string
	answersSVG string
	growthSVG  string
	seed       uint64
	keep       bool
	rounds     int
}

// times is how often a row measures: once in a smoke test, as -rounds says, or as usual.
func (o options) times(usual int) int {
	switch {
	case o.quick:
		return 1
	case o.rounds > 0:
		return o.rounds
	}
	return usual
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "small sizes and one round: a smoke test")
	flag.StringVar(&o.only, "only", "", "comma-separated names of rows, for example answers,files (default: all)")
	flag.StringVar(&o.jsonFile, "json", "", "write the report as JSON to this file")
	flag.StringVar(&o.answersSVG, "answers-chart", "", "draw the figures of the row answers into this file, as SVG")
	flag.StringVar(&o.growthSVG, "growth-chart", "", "draw the curves of the row growth into this file, as SVG")
	flag.StringVar(&o.textFile, "text", "", "write the table to this file too")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of all data")
	flag.IntVar(&o.rounds, "rounds", 0, "how often each contestant is measured (default: 3 or 5, by row)")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory (logs of all contestants)")
	echoListen := flag.String("serve-echo", "", "internal: be the bare echo handler at this address")
	echoAnswers := flag.String("answers", "", "internal: what the bare handler answers")
	flag.Parse()
	if *echoListen != "" {
		fail(serveEcho(*echoListen, *echoAnswers))
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	fail(run(ctx, o))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is one line of work.
type row struct {
	name string
	what string
	run  func(context.Context, *lab, options, *report) error
}

func allRows() []row {
	return []row{
		{"answers", "small warm answers", rowAnswers},
		{"files", "warm files", rowFiles},
		{"cold", "a cold file", rowCold},
		{"herd", "many clients of one cold file", rowHerd},
		{"uploads", "uploads, one large and many small", rowUploads},
		{"size", "a large store", rowSize},
		{"growth", "the same questions at growing sizes", rowGrowth},
		{"memory", "memory under many transfers", rowMemory},
		{"install", "the real clients", rowInstall},
		{"views", "a view over stores and upstreams", rowViews},
		{"operators", "promotion, and a full trash", rowOperators},
		{"idle", "what it costs when nothing happens", rowIdle},
	}
}

// choose returns the rows that are named in a comma-separated list; all if it is empty.
func choose(list string) ([]row, error) {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
	if len(names) == 0 {
		return allRows(), nil
	}
	var rows []row
	for _, name := range names {
		i := slices.IndexFunc(allRows(), func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q", name)
		}
		rows = append(rows, allRows()[i])
	}
	return rows, nil
}

func run(ctx context.Context, o options) (err error) {
	rows, err := choose(o.only)
	if err != nil {
		return err
	}
	root, err := harness.Root()
	if err != nil {
		return err
	}
	folder, err := harness.NewFolder("conanproxy-bench")
	if err != nil {
		return err
	}
	defer func() {
		if o.keep {
			fmt.Fprintln(os.Stderr, "bench: everything is in", folder.Path)
			err = errors.Join(err, folder.Keep())
			return
		}
		err = errors.Join(err, folder.Remove())
	}()
	defer harness.ReportWaits(os.Stderr, "bench", time.Minute)()
	l := &lab{dir: folder.Path, root: root, binary: filepath.Join(folder.Path, "conanproxy"), seed: o.seed}
	if err := harness.Build(ctx, root, l.binary); err != nil {
		return err
	}
	rep := &report{Machine: harness.Machine(), Command: "go run ./bench " + strings.Join(os.Args[1:], " "), Seed: o.seed}
	var failed error // a row that fails takes no other with it
	for _, r := range rows {
		if ctx.Err() != nil {
			break
		}
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s: %s …\n", r.name, r.what)
		if err := r.run(ctx, l, o, rep); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", r.name, err))
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", r.name, time.Since(begin).Round(time.Second))
	}
	return errors.Join(failed, ctx.Err(), rep.write(o))
}

// write prints the table and writes the files that were asked for.
func (r *report) write(o options) error {
	if err := r.writeText(os.Stdout); err != nil {
		return err
	}
	for _, x := range []struct {
		file  string
		write func(string) error
	}{
		{o.textFile, writeFile(r.writeText)},
		{o.jsonFile, writeFile(r.writeJSON)},
		{o.answersSVG, r.drawAnswers},
		{o.growthSVG, r.drawGrowth},
	} {
		if x.file == "" {
			continue
		}
		if err := x.write(x.file); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes a function that writes into a new file out of one that writes into a writer.
func writeFile(write func(io.Writer) error) func(string) error {
	return func(name string) error {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
}
