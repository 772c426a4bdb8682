package faults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// ware is a recipe with a package, and what the killed server is known to have promised of it.
type ware struct {
	recipe, pkg conantest.Set

	recipeAcked, pkgAcked    bool
	deleteTried, deleteAcked bool
	upstream                 bool // it comes from upstream: it is there always
}

// state is what a reader sees of a revision.
type state int

const (
	absent state = iota
	whole
	half  // some of it
	wrong // other bytes
)

// look reads everything of a set.
func look(ctx context.Context, base string, set conantest.Set) (state, string) {
	list := get(ctx, base+revisionPath(set.Revision)+"/files")
	seen := map[int]int{list.status: 1}
	for _, name := range set.Names() {
		a := get(ctx, base+filePath(set.Revision, name))
		if a.err == nil && a.status == http.StatusOK && !a.is(set.Files[name]) {
			return wrong, fmt.Sprintf("%s of %s has other bytes", name, set.Revision)
		}
		if a.err != nil {
			return half, fmt.Sprintf("%s of %s: %s", name, set.Revision, a)
		}
		seen[a.status]++
	}
	switch {
	case len(seen) == 1 && seen[http.StatusOK] > 0:
		return whole, ""
	case len(seen) == 1 && seen[http.StatusNotFound] > 0:
		return absent, ""
	}
	return half, fmt.Sprintf("%s: statuses %v; list of files: %s", set.Revision, seen, list)
}

// killing is one kind of rounds.
type killing struct {
	*run
	kind   string
	blobs  harness.Settings // empty: the files are on the disk
	s      *server
	origin *conantest.Server // nil: none
	round  int
	wares  []*ware // of all rounds
	fresh  []*ware // of this round

	lost, halfSeen, badBytes []string
	fscks                    int
}

// TestKill kills the server again and again and reads back what it had acknowledged.
func TestKill(t *testing.T) {
	r := newRun(t)
	for _, kind := range []string{"publish", "fill", "eviction", "delete", "gc"} {
		k := &killing{run: r, kind: kind}
		k.all("")
	}
}

// TestKillBucket is TestKill with the files in a bucket. The disk loses its copies now and then.
func TestKillBucket(t *testing.T) {
	r := newRun(t)
	s3, err := harness.StartS3(r.Context(), root, r.folder("s3"))
	r.must(err)
	r.Cleanup(s3.Stop)
	for _, kind := range []string{"publish", "fill", "eviction", "delete", "gc"} {
		k := &killing{run: r, kind: kind, blobs: s3.Settings(s3.URL(), kind)}
		k.all(", files in a bucket")
	}
}

// all runs all rounds of a kind.
func (k *killing) all(where string) {
	k.begin()
	for k.round = range *rounds {
		if k.Context().Err() != nil {
			k.Fatal(k.Context().Err())
		}
		k.once()
	}
	k.s.start()
	for _, w := range k.wares {
		k.verify(w)
	}
	k.s.Stop()
	k.fsck()
	what := fmt.Sprintf("kill -9 during %s%s, %d rounds, %d revisions read back, fsck %d times", k.kind, where, *rounds, 2*len(k.wares), k.fscks)
	demanded := "0 acknowledged losses, 0 half-visible revisions, 0 bad bytes"
	all := append(append(append([]string(nil), k.lost...), k.halfSeen...), k.badBytes...)
	k.none(what, demanded, fmt.Sprintf("%d, %d, %d", len(k.lost), len(k.halfSeen), len(k.badBytes)), all)
}

// begin makes the server of a kind.
func (k *killing) begin() {
	c := settings{blobs: k.blobs}
	switch k.kind {
	case "fill", "eviction", "gc":
		k.origin = conantest.NewServer(k.run, conantest.V2)
		c.upstreams = []harness.Settings{harness.Upstream("origin", k.origin.URL, quickly)}
	}
	if k.kind == "eviction" {
		c.cache = harness.Settings{"memory": "8MiB", "max_size": tight}
	}
	k.s = k.newServer(c)
	k.s.start()
	k.s.login()
	k.s.kill()
}

// payload is the size of the packages of these rounds.
const payload = 150 << 10

// tight is a bound of the cache that a few wares fill.
const tight = 1 << 20

// ware makes something new.
func (k *killing) ware(i int) *ware {
	w := new(ware)
	w.recipe = conantest.Recipe(fmt.Sprintf("w%dx%d", k.round, i), "1.0", conantest.File("data.yml", fmt.Sprint(*seed)))
	w.pkg = conantest.Package(w.recipe, conantest.Random(fmt.Sprintf("lib/%d-%d-%d", *seed, k.round, i), payload))
	return w
}

// once is a round: start, work, die, start, look.
func (k *killing) once() {
	k.fresh = nil
	for i := range 4 {
		k.fresh = append(k.fresh, k.ware(i))
	}
	k.s.start()
	if k.origin != nil {
		for i, w := range k.fresh {
			if k.kind == "gc" && i%2 == 0 {
				continue // published below
			}
			k.origin.Add(w.recipe, w.pkg)
			w.upstream = true
		}
	}
	if k.kind == "delete" || k.kind == "gc" {
		for _, w := range k.fresh {
			if !w.upstream {
				k.publish(w)
			}
		}
	}
	if k.kind == "gc" {
		k.killCollection()
	} else {
		k.killServer()
	}
	if k.round%5 == 4 {
		k.fsck()
	}
	if k.round%2 == 0 {
		k.must(os.RemoveAll(filepath.Join(k.s.data, "tier")))
	}
	k.s.start()
	for _, w := range k.fresh {
		k.verify(w)
	}
	k.wares = append(k.wares, k.fresh...)
	for range min(3, len(k.wares)) {
		k.verify(k.wares[k.random.IntN(len(k.wares))])
	}
	k.s.kill()
}

// killServer has some clients work and kills the server meanwhile.
func (k *killing) killServer() {
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	var wg sync.WaitGroup
	const workers = 2
	for n := range workers {
		wg.Go(func() {
			for i := n; i < len(k.fresh) && ctx.Err() == nil; i += workers {
				k.work(ctx, k.fresh[i])
			}
		})
	}
	time.Sleep(time.Duration(k.random.Int64N(int64(small(120, 150)))) * time.Millisecond)
	k.s.kill()
	cancel()
	wg.Wait()
}

func (k *killing) work(ctx context.Context, w *ware) {
	switch k.kind {
	case "publish":
		k.publishWith(ctx, w)
	case "delete":
		k.remove(ctx, w)
	default:
		for _, set := range []conantest.Set{w.recipe, w.pkg} {
			for _, name := range set.Names() {
				get(ctx, k.s.url(filePath(set.Revision, name)))
			}
		}
	}
}

func (k *killing) publish(w *ware) {
	if k.publishWith(k.Context(), w); !w.pkgAcked {
		k.Fatalf("a server that is well refused %s", w.pkg.Revision)
	}
}

func (k *killing) publishWith(ctx context.Context, w *ware) {
	base := k.s.url("/local")
	if publish(ctx, base, k.s.token, w.recipe) != nil {
		return
	}
	w.recipeAcked = true
	w.pkgAcked = publish(ctx, base, k.s.token, w.pkg) == nil
}

func (k *killing) remove(ctx context.Context, w *ware) {
	w.deleteTried = true
	a := ask(ctx, http.MethodDelete, k.s.url("/local"+revisionPath(w.recipe.Revision)), nil, k.s.token)
	w.deleteAcked = a.err == nil && a.status == http.StatusOK
}

// killCollection makes garbage, stops the server and kills conanproxy gc.
func (k *killing) killCollection() {
	for i, w := range k.fresh {
		switch {
		case w.upstream:
			k.work(k.Context(), w)
		case i == 0:
			k.remove(k.Context(), w)
		}
	}
	k.s.kill()
	c := settings{blobs: k.blobs, upstreams: []harness.Settings{harness.Upstream("origin", k.origin.URL, quickly)}}
	lower := c
	lower.cache = harness.Settings{"memory": "8MiB", "max_size": tight}
	k.s.configure(lower)
	cmd := exec.Command(program, "gc", "--config", k.s.ConfigFile())
	k.must(cmd.Start())
	time.Sleep(time.Duration(k.random.Int64N(60)) * time.Millisecond)
	cmd.Process.Kill()
	_ = cmd.Wait() // killed, or done before
	k.s.configure(c)
}

// verify reads a ware and compares it with what was promised.
func (k *killing) verify(w *ware) {
	view := "/local"
	if w.upstream {
		view = ""
	}
	recipe, text := look(k.Context(), k.s.url(view), w.recipe)
	pkg, more := look(k.Context(), k.s.url(view), w.pkg)
	for i, s := range []state{recipe, pkg} {
		switch s {
		case half:
			k.halfSeen = append(k.halfSeen, []string{text, more}[i])
		case wrong:
			k.badBytes = append(k.badBytes, []string{text, more}[i])
		}
	}
	lost := func(what string) { k.lost = append(k.lost, fmt.Sprintf("%s: %s", w.pkg.Revision, what)) }
	switch {
	case w.upstream:
		if recipe != whole || pkg != whole {
			lost("upstream has it, and it cannot be read: " + text + more)
		}
	case w.deleteAcked:
		if recipe != absent || pkg != absent {
			lost("deleted, and there again")
		}
	case w.deleteTried:
		if recipe != pkg {
			k.halfSeen = append(k.halfSeen, w.pkg.String()+": half deleted")
		}
		w.settle(recipe)
	default:
		if w.recipeAcked && recipe != whole || w.pkgAcked && pkg != whole {
			lost(fmt.Sprintf("published, and gone: recipe %d, package %d %s%s", recipe, pkg, text, more))
		}
		w.recipeAcked, w.pkgAcked = w.recipeAcked || recipe == whole, w.pkgAcked || pkg == whole // it was seen, so it has to stay
	}
}

// settle notes how a deletion without an answer turned out: it has to stay so.
func (w *ware) settle(s state) {
	w.deleteTried = false
	if s == absent {
		w.deleteAcked = true
	}
}

var fsckSummary = regexp.MustCompile(`(\d+) damaged, (\d+) missing`)

// fsck checks the store of the dead server. Bytes without rows are what a crash may leave.
func (k *killing) fsck() {
	out, _ := k.s.command("fsck")
	k.fscks++
	if m := fsckSummary.FindStringSubmatch(out); m == nil || m[1] != "0" || m[2] != "0" {
		k.badBytes = append(k.badBytes, "fsck: "+out)
	}
}
