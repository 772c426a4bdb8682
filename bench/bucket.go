package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"conanproxy/internal/harness"
)

// rowBucket measures a server whose files are in a bucket beside one whose files are on the disk.
func rowBucket(ctx context.Context, l *lab, o options, rep *report) error {
	dir, err := l.folder("bucket")
	if err != nil {
		return err
	}
	s3, err := harness.StartS3(ctx, l.root, dir)
	if err != nil {
		return err
	}
	defer s3.Stop()
	relay, err := harness.NewS3Relay(s3.URL())
	if err != nil {
		return err
	}
	defer relay.Close()
	b := &bucketLab{lab: l, s3: s3, relay: relay}
	if err := b.warmFiles(ctx, o, rep); err != nil {
		return err
	}
	return b.uploads(ctx, o, rep)
}

// bucketLab has a bucket, and counts the requests to it.
type bucketLab struct {
	*lab
	s3      *harness.S3Server
	relay   *harness.S3Relay
	servers int
}

// start starts a server, with its files in a part of the bucket of its own or on the disk.
func (b *bucketLab) start(ctx context.Context, inBucket bool, s harness.Settings) (*harness.Process, error) {
	dir, err := b.folder("bucket")
	if err != nil {
		return nil, err
	}
	all := harness.Settings{}
	for key, value := range s {
		all[key] = value
	}
	if inBucket {
		b.servers++
		all["blobs"] = b.s3.Settings(b.relay.URL(), fmt.Sprint("server", b.servers))
	}
	return b.ours(ctx, dir, all)
}

// startWarm starts a server over an upstream and has it store the file at a path.
func (b *bucketLab) startWarm(ctx context.Context, inBucket bool, upstream, path string) (*harness.Process, error) {
	p, err := b.start(ctx, inBucket, over(upstream))
	if err != nil {
		return nil, err
	}
	for range 2 {
		if _, err := download(ctx, p.URL()+path); err != nil {
			p.Stop()
			return nil, err
		}
	}
	return p, nil
}

// warmFiles measures files of 1 MB that the disk tier has.
func (b *bucketLab) warmFiles(ctx context.Context, o options, rep *report) error {
	rounds, duration := o.times(5), 5*time.Second
	if o.quick {
		duration = time.Second
	}
	dir, err := b.folder("bucket")
	if err != nil {
		return err
	}
	s, err := makeSample(dir, "warm", "1.0", 1<<20, b.seed)
	if err != nil {
		return err
	}
	from := newOrigin(0, s)
	defer from.Close()
	path := s.packageURL("") + "/files/" + archiveName
	var servers [2]*harness.Process
	for i := range servers {
		if servers[i], err = b.startWarm(ctx, i == 1, from.URL, path); err != nil {
			return err
		}
		defer servers[i].Stop()
	}
	before := b.relay.Requests(http.MethodGet)
	var rates [2]series
	for range rounds {
		for i, p := range servers {
			begin := time.Now()
			sent, err := pull(ctx, p.URL()+path, 8, duration)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], float64(sent)/time.Since(begin).Seconds()/1e6)
		}
	}
	rep.add(
		result{Row: "bucket", Work: "warm file of 1 MB", Ratio: "bytes/s ÷ files on the disk", Value: rates[1].median() / rates[0].median(), Goal: 0.8, Spread: rates[1].spread(),
			Raw: map[string]float64{"bucket MB/s": rates[1].median(), "disk MB/s": rates[0].median()}},
		result{Row: "bucket", Work: "warm file of 1 MB", Ratio: "reads from the bucket", Value: float64(b.relay.Requests(http.MethodGet) - before), Unit: "requests", AtMost: true},
	)
	return nil
}

// uploads publishes recipes with three small files each by eight clients.
func (b *bucketLab) uploads(ctx context.Context, o options, rep *report) error {
	recipes, rounds := 200, o.times(3)
	if o.quick {
		recipes = 40
	}
	var times [2]series
	requests := 0
	for round := range rounds {
		samples, err := b.smallSamples(recipes, round)
		if err != nil {
			return err
		}
		for i := range times {
			p, err := b.start(ctx, i == 1, nil)
			if err != nil {
				return err
			}
			before := b.relay.Requests("")
			t, err := publishAll(ctx, p, samples)
			requests += b.relay.Requests("") - before
			p.Stop()
			if err != nil {
				return err
			}
			times[i] = append(times[i], t)
		}
	}
	const files = 5 // of a recipe and its package
	work := fmt.Sprintf("%d packages of 3 files by 8 clients", recipes)
	rep.add(
		result{Row: "bucket", Work: work, Ratio: "time ÷ files on the disk", Value: times[1].median() / times[0].median(), Spread: times[1].spread(),
			Raw: map[string]float64{"bucket s": times[1].median(), "disk s": times[0].median()}},
		result{Row: "bucket", Work: work, Ratio: "requests to the bucket per file", Value: float64(requests) / float64(files*recipes*rounds), Unit: "requests", Goal: 1.05, AtMost: true},
	)
	return nil
}
