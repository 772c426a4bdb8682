package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"conanproxy/internal/identity"
	"conanproxy/internal/index"
)

// robots are the robot tokens of the index, for the directory of users. A look-up takes
// microseconds, so no request bounds it.
type robots struct{ index *index.DB }

// RobotOf implements identity.Robots.
func (r robots) RobotOf(secret [sha256.Size]byte) (*identity.Robot, error) {
	return asRobot(r.index.TokenOf(context.Background(), hex.EncodeToString(secret[:])))
}

// RobotNamed implements identity.Robots.
func (r robots) RobotNamed(name string) (*identity.Robot, error) {
	return asRobot(r.index.TokenNamed(context.Background(), name))
}

// RobotUsed implements identity.Robots.
func (r robots) RobotUsed(name string, now time.Time) error {
	return r.index.TokenUsed(context.Background(), name, now)
}

func asRobot(t index.Token, err error) (*identity.Robot, error) {
	if err != nil {
		return nil, err
	}
	robot := &identity.Robot{Name: t.Name, Owner: t.Owner, Created: t.Created, Expires: t.Expires, LastUse: t.LastUse}
	if _, err := hex.Decode(robot.SHA256[:], []byte(t.SHA256)); err != nil {
		return nil, fmt.Errorf("token %s: %w", t.Name, err)
	}
	if robot.Limits, err = identity.ParseLimits(t.Rights); err != nil {
		return nil, fmt.Errorf("token %s: %w", t.Name, err)
	}
	return robot, nil
}
