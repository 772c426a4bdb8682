package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"conanproxy/internal/index"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
)

func jobCommand() *cobra.Command {
	c := &cobra.Command{Use: "job", Short: "Watch and end your jobs on a server: changes that run in the background"}
	c.AddCommand(jobListCommand(), jobShowCommand(), jobCancelCommand(), jobFollowCommand())
	return c
}

func jobListCommand() *cobra.Command {
	return list[api.JobLine]{
		use: "list", path: "jobs", short: "List your jobs, the newest first; an administrator sees those of all users",
		args: [][2]string{{"state", fmt.Sprintf("only this state, one of %q", index.JobStates)}},
		line: func(l api.JobLine) string {
			return fmt.Sprintf("%6d  %-9s  %-12s %-12s %s  %s", l.ID, l.State, l.Call, l.Owner, moment(l.Created), shownProgress(l))
		},
	}.command()
}

// shownProgress tells how far a job is, or why it failed.
func shownProgress(l api.JobLine) string {
	if l.Error != "" {
		return l.Error
	}
	p := progressOf(l)
	text := fmt.Sprintf("%d of %d revisions", p.Revisions.Total()-p.Revisions.ToGo, p.Revisions.Total())
	if p.Revisions.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", p.Revisions.Skipped)
	}
	if p.Revisions.Failed > 0 {
		text += fmt.Sprintf(", %d failed", p.Revisions.Failed)
	}
	if p.Bytes.Total() > 0 {
		text += fmt.Sprintf(", %d of %d bytes", p.Bytes.Total()-p.Bytes.ToGo, p.Bytes.Total())
	}
	return text
}

// progressOf is the progress of a job; one that has none, or another kind, has done nothing.
func progressOf(l api.JobLine) (p transfer.Progress) {
	_ = json.Unmarshal(l.Progress, &p)
	return p
}

// onJob is a command about one job.
func onJob(use, short string, run func(c *cobra.Command, cl *client, id string) error) *cobra.Command {
	var cl client
	c := &cobra.Command{
		Use: use + " NUMBER", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := strconv.ParseUint(args[0], 10, 63); err != nil {
				return usageError{fmt.Errorf("%q is not the number of a job", args[0])}
			}
			return run(c, &cl, args[0])
		},
	}
	cl.add(c)
	return c
}

func jobShowCommand() *cobra.Command {
	return onJob("show", "Show a job: what it was asked, how far it is and what it answered", func(c *cobra.Command, cl *client, id string) error {
		var job api.JobDetail
		if err := cl.call(c.Context(), http.MethodGet, "jobs/show", url.Values{"id": {id}}, nil, &job); err != nil {
			return err
		}
		return cl.print(c.OutOrStdout(), job, func() { showJob(c.OutOrStdout(), job) })
	})
}

func showJob(out io.Writer, job api.JobDetail) {
	fmt.Fprintf(out, "job %d: %s by %s from %s\n", job.ID, job.Call, job.Owner, job.Address)
	fmt.Fprintf(out, "%s: %s\n", job.State, shownProgress(job.JobLine))
	fmt.Fprintf(out, "created %s, started %s, ended %s\n", moment(job.Created), moment(job.Started), moment(job.Ended))
	fmt.Fprintf(out, "arguments: %s\n", job.Arguments)
	var report api.Report
	if job.Result != nil && json.Unmarshal(job.Result, &report) == nil {
		showReport(out, report)
	}
}

func jobCancelCommand() *cobra.Command {
	return onJob("cancel", "End a job; what it has done stays", func(c *cobra.Command, cl *client, id string) error {
		var job api.JobLine
		if err := cl.call(c.Context(), http.MethodPost, "jobs/cancel", nil, map[string]json.Number{"id": json.Number(id)}, &job); err != nil {
			return err
		}
		return cl.print(c.OutOrStdout(), job, func() { fmt.Fprintf(c.OutOrStdout(), "job %d is %s\n", job.ID, job.State) })
	})
}

func jobFollowCommand() *cobra.Command {
	c := onJob("follow", "Show the progress of a job until it ends", func(c *cobra.Command, cl *client, id string) error {
		return cl.follow(c.Context(), c.OutOrStdout(), id)
	})
	c.Long = "Shows the progress of a job until it ends: as a bar on a terminal, else a line for each change. With --json each line is the\n" +
		"job as JSON. A server that restarts meanwhile is waited for.\n" +
		"Exit code 0: the job is done; 1: it failed or was cancelled, or cannot be followed; 2: wrong usage."
	return c
}

// follow shows a job until it ends.
func (c *client) follow(ctx context.Context, out io.Writer, id string) error {
	show := c.jobPrinter(out)
	var last api.JobLine
	err := persist(ctx, func() (more bool, err error) {
		ended, begun := false, false
		err = c.events(ctx, "jobs/follow", url.Values{"id": {id}}, func(event string, data []byte) error {
			begun, ended = true, event == "end"
			if err := json.Unmarshal(data, &last); err != nil {
				return err
			}
			return show(last, ended)
		})
		if err == nil && !ended {
			err = lostConnection{errors.New("the server ended the events of the job")}
		}
		return begun && !ended, err
	})
	if err == nil && last.State != index.JobDone {
		err = fmt.Errorf("job %d: %s", last.ID, strings.TrimSpace(string(last.State)+" "+last.Error))
	}
	return err
}

// jobPrinter returns what shows each state of a job.
func (c *client) jobPrinter(out io.Writer) func(l api.JobLine, ended bool) error {
	f, isFile := out.(*os.File)
	switch {
	case c.asJSON:
		return func(l api.JobLine, _ bool) error { return json.NewEncoder(out).Encode(l) }
	case isFile && term.IsTerminal(int(f.Fd())):
		return func(l api.JobLine, ended bool) error {
			end := ""
			if ended {
				end = "\n"
			}
			_, err := fmt.Fprintf(out, "\r\x1b[K%s %s: %s%s", bar(progressOf(l)), l.State, shownProgress(l), end)
			return err
		}
	}
	return func(l api.JobLine, _ bool) error {
		_, err := fmt.Fprintf(out, "%s: %s\n", l.State, shownProgress(l))
		return err
	}
}

// bar draws progress.
func bar(p transfer.Progress) string {
	const width = 30
	amount := p.Bytes
	if amount.Total() == 0 {
		amount = p.Revisions
	}
	full := 0
	if total := amount.Total(); total > 0 {
		full = int((total - amount.ToGo) * width / total)
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(" ", width-full) + "]"
}

// events reads server-sent events until they end.
func (c *client) events(ctx context.Context, path string, query url.Values, handle func(event string, data []byte) error) error {
	req, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	body, err := c.do(req)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	event := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			event = value
		case "data":
			if err := handle(event, []byte(value)); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return lostConnection{err}
	}
	return nil
}
