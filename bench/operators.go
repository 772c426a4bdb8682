package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/harness"
)

// rowOperators measures what operators do, and what it costs clients.
func rowOperators(ctx context.Context, l *lab, o options, rep *report) error {
	if err := promotion(ctx, l, o, rep); err != nil {
		return fmt.Errorf("promotion: %w", err)
	}
	return fullTrash(ctx, l, o, rep)
}

// promotion promotes packages from one store to another, which copies no bytes.
func promotion(ctx context.Context, l *lab, o options, rep *report) error {
	packages, size := 200, int64(5<<20)
	if o.quick {
		packages, size = 20, 64<<10
	}
	dir, err := l.folder("promotion")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := l.ours(ctx, dir, harness.Settings{"stores": []harness.Settings{{"name": "dev"}, {"name": "release"}}})
	if err != nil {
		return err
	}
	defer p.Stop()
	u, err := newUploader(ctx, p.URL())
	if err != nil {
		return err
	}
	u.base = p.URL() + "/r/dev"
	var bytes int64
	for i := range packages {
		s, err := makeSample(dir, fmt.Sprintf("lib%03d", i), "1.0", size, l.seed+uint64(i))
		if err != nil {
			return err
		}
		if err := u.publish(ctx, s); err != nil {
			return err
		}
		bytes += s.size
		if err := os.Remove(s.archive); err != nil {
			return err
		}
	}
	before, err := blobFiles(dir)
	if err != nil {
		return err
	}
	var moved struct {
		Revisions []struct{ Skipped bool }
	}
	took, err := seconds(func() error {
		return u.post(ctx, p.URL()+"/api/v1/promote", map[string]any{
			"from": "dev", "to": "release", "selection": map[string]any{"patterns": []string{"*:*"}},
		}, &moved)
	})
	if err != nil {
		return err
	}
	if len(moved.Revisions) != 2*packages {
		return fmt.Errorf("%d revisions were promoted, want %d", len(moved.Revisions), 2*packages)
	}
	after, err := blobFiles(dir)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("promotion of %d packages, %d MB", packages, bytes>>20)
	rep.add(
		result{Row: "operators", Work: work, Ratio: "time", Value: took, Unit: "s", Goal: 1, AtMost: true},
		result{Row: "operators", Work: work, Ratio: "files after ÷ before", Value: float64(after) / float64(before), Goal: 1, AtMost: true},
	)
	return nil
}

// blobFiles counts the stored files of a server in dir.
func blobFiles(dir string) (n int, err error) {
	err = filepath.WalkDir(filepath.Join(dir, "data", "blobs", "sha256"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	return n, err
}

// post makes a call of the operators' API.
func (u *uploader) post(ctx context.Context, url string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s: %s %w", url, resp.Status, strings.TrimSpace(string(text[:min(len(text), 300)])), err)
	}
	return json.Unmarshal(text, into)
}

// fullTrash compares a server whose trash and audit have many references with one that never had
// any.
func fullTrash(ctx context.Context, l *lab, o options, rep *report) error {
	refs := 100_000
	if o.quick {
		refs = 2000
	}
	var uploads, latest, file [2]series
	shapes := [2]shape{{refs: refs, packages: 1, removed: true}, {}}
	for round := range o.times(3) {
		order := []int{0, 1}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			m, err := measureBeside(ctx, l, o, shapes[i])
			if err != nil {
				return err
			}
			uploads[i] = append(uploads[i], m.upload)
			latest[i] = append(latest[i], 1/m.latest)
			file[i] = append(file[i], 1/m.file)
		}
	}
	work := fmt.Sprintf("%d references in trash and audit", refs)
	for _, x := range []struct {
		what string
		time [2]series
	}{{"small uploads", uploads}, {"warm answers", latest}, {"warm files of 1 MB", file}} {
		rep.add(result{Row: "operators", Work: work, Ratio: x.what + ": time ÷ none there", Value: x.time[0].median() / x.time[1].median(), Goal: 1.1, AtMost: true,
			Spread: x.time[0].spread(), Raw: map[string]float64{"full s": x.time[0].median(), "empty s": x.time[1].median()}})
	}
	return nil
}

// measureBeside measures a server over a generated data directory by packages of its own.
func measureBeside(ctx context.Context, l *lab, o options, s shape) (m sized, err error) {
	dir, err := l.folder("trash")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	if err := generate(ctx, filepath.Join(dir, "data"), s); err != nil {
		return m, fmt.Errorf("generate: %w", err)
	}
	p, err := l.ours(ctx, dir, nil)
	if err != nil {
		return m, err
	}
	defer p.Stop()
	if m.upload, err = uploadSome(ctx, l, p); err != nil {
		return m, err
	}
	duration := 3 * time.Second
	if o.quick {
		duration = time.Second
	}
	rate, err := wrk(ctx, dir, p.URL(), question{path: "/v2/conans/small000/1.0/_/_/latest"}, 32, duration, false)
	if err != nil {
		return m, err
	}
	m.latest = rate.PerSecond
	m.file, err = fileRate(ctx, l, p, duration)
	return m, err
}
