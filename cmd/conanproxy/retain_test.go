package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

// The schedule runs once a day. A run that fails is counted and tried again.
func TestDailyRetention(t *testing.T) {
	cfg := testConfig(t)
	lock := filepath.Join(t.TempDir(), "app.lock")
	cfg.Local.Retention = config.Retention{Rules: []config.RetentionRule{{Pattern: "*", UnusedFor: time.Nanosecond}}, Roots: []string{lock}}
	s := testServer(t, cfg)
	list := s.current.Load().stores
	publish := func(name string) conan.Revision {
		t.Helper()
		set := conantest.Recipe(name, "1.0")
		if err := conantest.Publish(t.Context(), list[0], set); err != nil {
			t.Fatal(err)
		}
		return set.Revision
	}
	there := func(rev conan.Revision) bool {
		t.Helper()
		_, err := list[0].Snapshot(t.Context(), rev)
		if err != nil && !errors.Is(err, conan.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	rooted, bad, unused := publish("rooted"), publish("bad"), publish("unused")
	if err := s.hiding.Hide(t.Context(), []index.Hide{{View: "team", Revision: bad, Reason: "it crashes"}}, conan.Actor{}); err != nil {
		t.Fatal(err)
	}
	d := make(daily)
	for range 2 {
		d.retain(s, list)
	}
	if n := metric(t, s, "conanproxy_retention_failures_total", "local"); n != 2 || !there(unused) {
		t.Errorf("without its root the run failed %v times, want 2; what is unused is there: %v", n, there(unused))
	}
	writeFile(t, lock, `{"version": "0.5", "requires": ["rooted/1.0"]}`)
	d.retain(s, list)
	if !there(rooted) || !there(bad) || there(unused) {
		t.Errorf("rooted %v, hidden %v, unused %v; want only the last one gone", there(rooted), there(bad), there(unused))
	}
	if n := metric(t, s, "conanproxy_store_retention_removed_total", "local"); n != 1 {
		t.Errorf("%v removals are counted", n)
	}
	later := publish("later")
	d.retain(s, list)
	if !there(later) {
		t.Error("the schedule ran twice within a day")
	}
	d["local"] = time.Now().Add(-25 * time.Hour)
	d.retain(s, list)
	if there(later) {
		t.Error("the schedule did not run a day later")
	}
	lines, err := s.index.AuditLines(t.Context(), index.AuditFilter{Action: index.ActionRetention, Limit: 10})
	if err != nil || len(lines) != 2 || lines[0].By != scheduled {
		t.Errorf("audit %+v, %v", lines, err)
	}
}

// Uses that the proxy tells of reach the index with the next write, those of other members do not
// disturb.
func TestUsesReachTheIndex(t *testing.T) {
	s := testServer(t, testConfig(t, "http://127.0.0.1:1"))
	list := s.current.Load().stores
	set := conantest.Recipe("own", "1.0")
	if err := conantest.Publish(t.Context(), list[0], set); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	operated{s}.Used("local", set.Revision)
	operated{s}.Used("a", set.Revision)
	operated{s}.Used("gone", set.Revision)
	if err := list.writeUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, err := s.index.Member(t.Context(), "local", index.KindStore)
	if err != nil {
		t.Fatal(err)
	}
	uses, err := s.index.UsesOf(t.Context(), id, set.Revision.Ref)
	if err != nil || len(uses.Revisions) != 1 || uses.Revisions[0].LastUse.Before(before.Truncate(time.Microsecond)) {
		t.Errorf("uses %+v, %v; want one from %v on", uses, err, before)
	}
}

func TestConfigCheckReadsRoots(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	writeFile(t, file, "upstreams: []\ndata_dir: "+dir+"\nlocal: {retention: {rules: [{pattern: '*', unused_for: 1h}], roots: [app.lock]}}\n")
	check := func() int { return run(context.Background(), []string{"config", "check", "--config", file}) }
	if code := check(); code != exitUsage {
		t.Errorf("a missing root: exit code %d", code)
	}
	writeFile(t, filepath.Join(dir, "app.lock"), strings.Repeat(" ", 3)+`{"version": "0.5", "requires": ["rooted/1.0"]}`)
	if code := check(); code != exitOK {
		t.Errorf("a good root: exit code %d", code)
	}
}
