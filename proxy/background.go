package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"conanproxy/proxy/api"
	"conanproxy/proxy/auth"
)

// RunJob makes a call of the API as a job, by the settings in force, with the rights of its owner,
// and returns the answer. The owner is looked up first and every second until the end; one who is
// gone ends the job. The text of an error is for the owner.
func (s *Server) RunJob(ctx context.Context, b api.Background) (json.RawMessage, error) {
	if result, done := b.IsDone(); done {
		return result, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := s.jobRequest(ctx, b)
	if err != nil {
		return nil, err
	}
	go s.watchOwner(ctx, b, cancel)
	result, err := s.makeCall(r, b)
	if gone := context.Cause(ctx); err != nil && errors.Is(gone, auth.ErrLogin) {
		err = gone
	}
	if err != nil {
		return nil, s.jobFailure(r, b, err)
	}
	return result, nil
}

// jobRequest is the request that a job stands for.
func (s *Server) jobRequest(ctx context.Context, b api.Background) (*request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api.Prefix+b.Call, bytes.NewReader(b.Arguments))
	if err != nil {
		return nil, fmt.Errorf("make the call of a job: %w", err)
	}
	r := &request{req: req, path: req.URL.Path, settings: s.settings.Load(), started: s.now(), identified: true}
	if b.Address != "" {
		if r.addr, err = netip.ParseAddr(b.Address); err != nil {
			return nil, fmt.Errorf("the address of a job's owner: %w", err)
		}
	}
	if r.caller, err = r.settings.guard.Current(b.Owner, b.Login); err != nil {
		return nil, fmt.Errorf("%q: %w", b.Owner, err)
	}
	return r, nil
}

func (s *Server) makeCall(r *request, b api.Background) (json.RawMessage, error) {
	route, err := b.Route(s.api)
	if err != nil {
		return nil, err
	}
	c := s.apiCall(r, route)
	c.Actor.Claim, c.Job = b.Claim, b.Job
	result, err := route.Handle(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// watchOwner cancels a job whose owner can no longer log in.
func (s *Server) watchOwner(ctx context.Context, b api.Background, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		if _, err := s.settings.Load().guard.Current(b.Owner, b.Login); errors.Is(err, auth.ErrLogin) {
			cancel(fmt.Errorf("%q: %w", b.Owner, err))
			return
		}
	}
}

// jobFailure is an error as the owner of a job is told.
func (s *Server) jobFailure(r *request, b api.Background, err error) error {
	if errors.Is(err, api.ErrJobLost) {
		return err
	}
	refused := r.classify(err)
	switch refused.status {
	case statusGone:
		return err // the runner knows why the job was stopped
	case http.StatusInternalServerError:
		s.log.Error("job failed", zap.Int64("job", b.Claim.Job), zap.String("call", b.Call), zap.Error(err))
		return fmt.Errorf("internal error in job %d: the server's log says more", b.Claim.Job)
	}
	return errors.New(refused.text)
}
