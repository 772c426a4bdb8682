package mirror

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"conanproxy/e2e/e2etest"
	"conanproxy/internal/harness"
)

// nothing is what a search of an empty store finds.
const nothing = `{"results": []}`

func searched(t *testing.T, p *e2etest.Conanproxy) string {
	t.Helper()
	_, _, body := e2etest.Get(t, p.URL("r", "local")+"/v2/conans/search?q=*")
	return strings.ReplaceAll(body, `":[`, `": [`)
}

// TestKilledApply: a server is killed while a bundle arrives, at many places. After each start
// nothing of the bundle is there; then it is applied, and is there once.
func TestKilledApply(t *testing.T) {
	t.Parallel()
	from, to := e2etest.StartConanproxy(t, closed()), e2etest.StartConanproxy(t, closed())
	publisher := e2etest.NewConan2(t, from.URL("r", "local")).As("ann", "ann")
	fill(t, publisher)
	file := filepath.Join(t.TempDir(), "bundle")
	e2etest.NewOperator(t, from, "ann").Must("bundle", "create", "--output", file, everything)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 10
	for round := range rounds {
		demo := e2etest.NewOperator(t, to, "demo")
		killAfter(t, to, demo.Token(), text[:(round+1)*(len(text)-1)/rounds])
		to.Start()
		if got := searched(t, to); got != nothing {
			t.Fatalf("round %d: after the kill the server shows %s", round, got)
		}
	}
	demo := e2etest.NewOperator(t, to, "demo")
	e2etest.Says(t, demo.Must("bundle", "apply", file, "--to", "local"), "5 revisions, 0 skipped")
	same(t, from.URL("r", "local"), to.URL("r", "local"))
}

// killAfter sends the beginning of a bundle, waits until the server has read it, and kills it.
func killAfter(t *testing.T, p *e2etest.Conanproxy, token string, beginning []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan struct{})
	more := readerFunc(func([]byte) (int, error) { // asked for when the beginning was taken
		close(sent)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL()+"/api/v1/bundle/apply?to=local", io.MultiReader(bytes.NewReader(beginning), more))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	ended := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	<-sent
	p.Kill()
	cancel()
	if err := <-ended; err == nil {
		t.Error("the server answered before it had the whole bundle")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestKilledImport: a server is killed while it imports, each time a few files later. The next
// import goes on, and in the end both servers list the same.
func TestKilledImport(t *testing.T) {
	t.Parallel()
	old := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Server2})
	fill(t, e2etest.NewConan2(t, old.URL()).As("ann", "ann"))
	front := e2etest.Record(t, old.URL(), e2etest.BothAPIs)
	proxy := e2etest.StartConanproxy(t, local())
	args := []string{"import", "--from", front.URL(), "--into", "local", everything}
	var files, last atomic.Int64 // of this run: asked for, and allowed
	last.Store(3)
	front.InterceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/files/") && files.Add(1) == last.Load() {
			proxy.Kill()
		}
		return false
	})
	demo := e2etest.NewOperator(t, proxy, "demo")
	kills := 0
	for {
		out, code := demo.Run(args...)
		if code == 0 {
			break
		}
		if kills++; kills > 20 {
			t.Fatalf("the import does not go on: %s", out)
		}
		files.Store(0)
		last.Add(3)
		proxy.Start()
	}
	if kills < 2 {
		t.Errorf("the server was killed %d times only", kills)
	}
	same(t, old.URL(), proxy.URL("r", "local"))
	e2etest.Says(t, demo.Must(args...), "0 revisions, 5 skipped")
}

// TestImportWhileUploading: an import from a server that is being uploaded to copies what is whole;
// after the last upload another one makes both equal.
func TestImportWhileUploading(t *testing.T) {
	t.Parallel()
	old := e2etest.StartConanServer(t, harness.ConanServerOptions{Environment: harness.Server2})
	proxy := e2etest.StartConanproxy(t, local())
	demo := e2etest.NewOperator(t, proxy, "demo")
	args := []string{"import", "--from", old.URL(), "--into", "local", everything}
	publisher := e2etest.NewConan2(t, old.URL()).As("ann", "ann")
	uploaded := make(chan struct{})
	go func() {
		defer close(uploaded)
		fill(t, publisher)
	}()
	for running := true; running; {
		select {
		case <-uploaded:
			running = false
		default:
			demo.Run(args...) // it may find nothing yet, or what is not whole
		}
	}
	demo.Must(args...)
	same(t, old.URL(), proxy.URL("r", "local"))
}
