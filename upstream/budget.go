package upstream

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	defaultConnections = 8
	leastConnections   = 2 // one file, one document
	queueDeadline      = 45 * time.Second
	busyRetryAfter     = 5 * time.Second
)

// lane is the purpose of a connection.
type lane int

const (
	documentLane lane = iota // small, and a client waits for it
	fileLane                 // may last long
)

// budget bounds the concurrent questions by slots. A quarter of the slots, at least one, is kept
// free of files, so that documents never wait for long transfers. Both queues are first come, first
// served. A holder of a file slot may wait for a document slot, never the other way round.
type budget struct {
	all, files *semaphore.Weighted
	mostFiles  int
}

func newBudget(connections int) *budget {
	if connections == 0 {
		connections = defaultConnections
	}
	connections = max(connections, leastConnections)
	reserve := max(1, connections/4)
	return &budget{
		all:       semaphore.NewWeighted(int64(connections)),
		files:     semaphore.NewWeighted(int64(connections - reserve)),
		mostFiles: connections - reserve,
	}
}

// acquire waits for a slot, but not longer than the queue's deadline. release gives it back.
func (b *budget) acquire(ctx context.Context, l lane) (release func(), err error) {
	queue, cancel := context.WithTimeout(ctx, queueDeadline)
	defer cancel()
	if l == fileLane {
		if err := b.files.Acquire(queue, 1); err != nil {
			return nil, busy(ctx)
		}
	}
	if err := b.all.Acquire(queue, 1); err != nil {
		if l == fileLane {
			b.files.Release(1)
		}
		return nil, busy(ctx)
	}
	return func() {
		b.all.Release(1)
		if l == fileLane {
			b.files.Release(1)
		}
	}, nil
}

// connection waits for a slot of the budget.
func (r *Remote) connection(ctx context.Context, l lane) (release func(), err error) {
	release, err = r.budget.acquire(ctx, l)
	if err != nil {
		r.count(err)
	}
	return release, err
}

func busy(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return &failure{
		kind:       kindRefused,
		reason:     fmt.Sprintf("no connection was free for %s", queueDeadline),
		retryAfter: busyRetryAfter,
	}
}
