package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"conanproxy/internal/harness"
)

// rowFiles measures warm files of 1 MB and 200 MB over 8 connections, and what they cost in CPU.
func rowFiles(ctx context.Context, l *lab, o options, rep *report) error {
	sizes := []int64{1 << 20, 200 << 20}
	rounds, duration := o.times(5), 5*time.Second
	if o.quick {
		sizes, duration = []int64{1 << 20, 20 << 20}, time.Second
	}
	goals := []float64{1.2, 1}
	for i, size := range sizes {
		if err := warmFile(ctx, l, rep, size, goals[i], uint64(i), rounds, duration); err != nil {
			return err
		}
	}
	return nil
}

func warmFile(ctx context.Context, l *lab, rep *report, size int64, goal float64, seed uint64, rounds int, duration time.Duration) error {
	name := fmt.Sprintf("file of %d MB", size>>20)
	dir, err := l.folder("files")
	if err != nil {
		return err
	}
	s, err := makeSample(dir, "big", "1.0", size, l.seed+seed)
	if err != nil {
		return err
	}
	from := newOrigin(0, s)
	defer from.Close()
	ours, err := l.ours(ctx, dir, over(from.URL))
	if err != nil {
		return err
	}
	defer ours.Stop()
	cached, err := l.nginx(ctx, dir, from.URL)
	if err != nil {
		return err
	}
	defer cached.Stop()
	path := s.packageURL("") + "/files/" + archiveName
	contestants := []*harness.Process{ours, cached}
	for _, c := range contestants {
		for range 2 {
			if _, err := download(ctx, c.URL()+path); err != nil {
				return err
			}
		}
	}
	throughput := make([]series, 2)
	cpu := make([]series, 2)
	for range rounds {
		for i, c := range contestants {
			before, begin := c.CPUSeconds(), time.Now()
			sent, err := pull(ctx, c.URL()+path, 8, duration)
			if err != nil {
				return err
			}
			seconds := time.Since(begin).Seconds()
			throughput[i] = append(throughput[i], float64(sent)/seconds/1e6)
			cpu[i] = append(cpu[i], (c.CPUSeconds()-before)/(float64(sent)/1e9))
		}
	}
	raw := map[string]float64{
		"conanproxy MB/s": throughput[0].median(), "nginx MB/s": throughput[1].median(),
		"conanproxy CPU s/GB": cpu[0].median(), "nginx CPU s/GB": cpu[1].median(),
	}
	rep.add(
		result{Row: "files", Work: name, Ratio: "bytes/s ÷ nginx proxy_cache", Value: throughput[0].median() / throughput[1].median(), Goal: goal, Spread: throughput[0].spread(), Raw: raw},
		result{Row: "files", Work: name, Ratio: "CPU s/GB ÷ nginx", Value: cpu[0].median() / cpu[1].median(), Goal: 1.2, AtMost: true, Spread: cpu[0].spread()},
	)
	return nil
}

// pull downloads a URL again and again over n connections for about d and returns the body bytes.
// Whole files only are started in time.
func pull(ctx context.Context, url string, n int, d time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, d+2*time.Minute)
	defer cancel()
	deadline := time.Now().Add(d)
	transport := &http.Transport{MaxIdleConnsPerHost: n, MaxConnsPerHost: n, DisableCompression: true, ReadBufferSize: 256 << 10}
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	totals, errs := make([]int64, n), make([]error, n)
	for i := range n {
		wg.Go(func() {
			buffer := make([]byte, 1<<20)
			for time.Now().Before(deadline) && errs[i] == nil {
				var sent int64
				sent, errs[i] = pullOnce(ctx, transport, url, buffer)
				totals[i] += sent
			}
		})
	}
	wg.Wait()
	var total int64
	for i := range n {
		if errs[i] != nil {
			return 0, errs[i]
		}
		total += totals[i]
	}
	return total, nil
}

func pullOnce(ctx context.Context, transport http.RoundTripper, url string, buffer []byte) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buffer)
	if err == nil && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
