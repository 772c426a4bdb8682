package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/config"
)

// file is a log file on a disk that is too slow to be waited for.
type file struct {
	bytes.Buffer
	synced bool
}

func (f *file) Sync() error {
	f.synced = true
	return nil
}

func TestLoggers(t *testing.T) {
	var out file
	logs, err := newLoggers(config.Log{Level: "info", Format: "json", Access: true}, &out)
	if err != nil {
		t.Fatal(err)
	}
	logs.app.Debug("hidden")
	logs.access.Info("request", zap.Int("status", 200))
	logs.app.Info("seen")
	logs.flush()
	if out.synced {
		t.Error("the loggers waited for the disk")
	}
	var names []string
	for line := range bytes.Lines(out.Bytes()) {
		var v struct{ Level, Logger, Msg, Time string }
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z", v.Time)
		if err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("the time is %q: %v", v.Time, err)
		}
		names = append(names, v.Logger+":"+v.Msg)
	}
	if len(names) != 2 || names[0] != ":seen" || names[1] != "access:request" {
		t.Errorf("lines: %q; want the application's at once and the request's at the flush", names)
	}
}

func TestLogLevelIsChecked(t *testing.T) {
	if _, err := newLoggers(config.Log{Level: "loud"}, &file{}); err == nil {
		t.Error("level loud was taken")
	}
}
