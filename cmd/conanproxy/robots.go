package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"conanproxy/internal/identity"
	"conanproxy/internal/index"
)

// robots are the robot tokens of the index, for the directory of users. A look-up takes
// microseconds, so no request bounds it. Their last uses are written every ten seconds.
type robots struct {
	index  *index.DB
	limits *lru.Cache[string, *identity.Limits] // by their text

	mu   sync.Mutex
	used map[string]time.Time // that are not written yet
}

func newRobots(db *index.DB) *robots {
	const kept = 1024
	limits, _ := lru.New[string, *identity.Limits](kept) // fails only without a size
	return &robots{index: db, limits: limits, used: make(map[string]time.Time)}
}

// RobotOf implements identity.Robots.
func (r *robots) RobotOf(secret [sha256.Size]byte) (*identity.Robot, error) {
	return r.asRobot(r.index.TokenOf(context.Background(), hex.EncodeToString(secret[:])))
}

// RobotNamed implements identity.Robots.
func (r *robots) RobotNamed(name string) (*identity.Robot, error) {
	return r.asRobot(r.index.TokenNamed(context.Background(), name))
}

// RobotUsed implements identity.Robots.
func (r *robots) RobotUsed(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[name] = now
}

// write writes the last uses.
func (r *robots) write(ctx context.Context) error {
	r.mu.Lock()
	used := r.used
	r.used = make(map[string]time.Time)
	r.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	return r.index.TokensUsed(ctx, used)
}

func (r *robots) asRobot(t index.Token, err error) (*identity.Robot, error) {
	if err != nil {
		return nil, err
	}
	robot := &identity.Robot{Name: t.Name, Owner: t.Owner, Created: t.Created, Expires: t.Expires}
	if _, err := hex.Decode(robot.SHA256[:], []byte(t.SHA256)); err != nil {
		return nil, fmt.Errorf("token %s: %w", t.Name, err)
	}
	var known bool
	if robot.Limits, known = r.limits.Get(t.Rights); known {
		return robot, nil
	}
	if robot.Limits, err = identity.ParseLimits(t.Rights); err != nil {
		return nil, fmt.Errorf("token %s: %w", t.Name, err)
	}
	r.limits.Add(t.Rights, robot.Limits)
	return robot, nil
}
