package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

const (
	maxResumes    = 5        // in a row, without much progress between them
	maxResumesAll = 50       // of one transfer
	muchProgress  = 16 << 20 // bytes that begin a new row
)

// resume continues after cause, or returns why it cannot.
func (b *body) resume(cause error) error {
	if isCallerGone(cause) {
		return cause
	}
	b.r.count(cause)
	b.resp.Body.Close()
	if !b.canResume() || !b.resumes.next(b.offset) {
		b.r.breaker.report(cause)
		return cause
	}
	b.r.metrics.resumed(b.r.name)
	b.r.log.Info("continuing a cut transfer", zap.String("file", b.name), zap.Int64("offset", b.offset), zap.Error(cause))
	if err := sleep(b.ctx, b.resumes.pauses.NextBackOff()); err != nil {
		return err
	}
	return b.r.try(b.ctx, func(ctx context.Context) error {
		err := b.proceed(ctx)
		b.r.count(err)
		return err
	})
}

// next counts one more resume, and tells whether it is within the bounds.
func (s *resumes) next(offset int64) bool {
	if offset-s.progress >= muchProgress {
		s.inARow, s.progress = 0, offset
		s.pauses.Reset()
	}
	if s.inARow >= maxResumes || s.all >= maxResumesAll {
		return false
	}
	s.inARow++
	s.all++
	return true
}

// canResume tells whether the rest can be told from the rest of another file.
func (b *body) canResume() bool { return b.version.hasValidator() || b.size >= 0 }

// proceed asks for the rest.
func (b *body) proceed(ctx context.Context) error {
	header := http.Header{"Accept-Encoding": {"identity"}, "Range": {fmt.Sprintf("bytes=%d-", b.offset)}}
	if validator := b.version.ifRange(); validator != "" {
		header.Set("If-Range", validator)
	}
	resp, err := b.ask(ctx, header, expectRest)
	if err != nil {
		if isNotFound(err) {
			return badAnswer("withdrew %s during its transfer", b.name)
		}
		return err
	}
	if err := b.align(ctx, resp); err != nil {
		resp.Body.Close()
		return err
	}
	b.resp = resp
	return nil
}

// align checks that an answer belongs to the same file and puts it at the offset.
func (b *body) align(ctx context.Context, resp *http.Response) error {
	now := versionOf(b.name, resp.Header)
	if b.version.contradicts(now) {
		return badAnswer("changed %s during its transfer", b.name)
	}
	if resp.StatusCode == http.StatusPartialContent {
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != b.offset || b.size >= 0 && total >= 0 && total != b.size || !b.version.hasValidator() && total < 0 {
			return badAnswer("continued %s at another byte", b.name)
		}
		return nil
	}
	if !b.version.isSurely(now) || b.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != b.size {
		return badAnswer("cannot continue %s", b.name)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
		return b.r.classifyBody(ctx, err)
	}
	return nil
}

// contentRange reads "bytes start-end/total"; total is -1 if it is not told.
func contentRange(s string) (start, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, all, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if err != nil || err2 != nil || start < 0 || end < start {
		return 0, 0, false
	}
	if all == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(all, 10, 64)
	return start, total, err == nil && end < total
}
