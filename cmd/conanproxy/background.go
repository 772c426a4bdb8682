package main

import (
	"context"
	"encoding/json"

	"conanproxy/internal/index"
	"conanproxy/internal/jobs"
	"conanproxy/internal/transfer"
	"conanproxy/proxy/api"
)

// runJob makes the call of a job.
func (s *server) runJob(ctx context.Context, job index.Job, w *jobs.Work) (json.RawMessage, error) {
	return s.http.RunJob(ctx, api.Background{
		Call: job.Call, Owner: job.Owner, Login: job.Login, Address: job.Address, Arguments: job.Arguments,
		Claim: job.Claim(), Changed: job.Changes > 0, Expected: job.Result, Job: told{ctx, w},
	})
}

// told passes on what a call tells about itself.
type told struct {
	ctx  context.Context
	work *jobs.Work
}

// Progress implements api.Job.
func (t told) Progress(p transfer.Progress) { t.work.Progress(t.ctx, p) }

// Expect implements api.Job.
func (t told) Expect(result any) error { return t.work.Expect(t.ctx, result) }
