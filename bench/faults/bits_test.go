package faults

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// bits is a store in which one bit after the other is flipped.
type bits struct {
	*run
	s        *server
	settings settings
	cached   []conantest.Set // of upstream
	shared   []conantest.Set // published here, and upstream has them too
	own      []conantest.Set // published here only

	missed, unhealed, served []string
}

// TestBits flips a bit in each stored blob in turn.
func TestBits(t *testing.T) {
	r := newRun(t)
	b := &bits{run: r}
	b.fill()
	blobs := b.s.blobs()
	found, what := "fsck", fmt.Sprintf("%d blobs, a bit flipped in each in turn", len(blobs))
	if *full { // a new process is left alone by the scrub for a minute
		found = "fsck, and by the scrub of a copy of the store"
		b.scrub(blobs)
	}
	for _, path := range blobs {
		b.turn(path)
	}
	r.none(what+": found by "+found, "each", "each", b.missed)
	r.none(what+": healed where upstream has it", "each", "each", b.unhealed)
	r.none(what+": served after it was found", "never", "never", b.served)
}

// scrub starts a server for each blob on a copy of the store with that one damaged, and waits until
// each was found.
func (b *bits) scrub(blobs []string) {
	main := b.s
	defer func() { b.s = main }()
	data := filepath.Join(main.Dir, "data")
	copies := make([]*server, len(blobs))
	for i, path := range blobs {
		c := b.newServer(b.settings)
		b.must(os.CopyFS(filepath.Join(c.Dir, "data"), os.DirFS(data)))
		b.must(os.Chmod(filepath.Join(c.Dir, "data", "secret"), 0o600))
		relative, err := filepath.Rel(data, path)
		b.must(err)
		b.flip(filepath.Join(c.Dir, "data", relative))
		c.start()
		copies[i] = c
	}
	for i, path := range blobs {
		b.s = copies[i]
		digest := digestOf(path)
		if !eventually(3*time.Minute, func() bool { return b.s.logged(digest) > 0 }) {
			b.missed = append(b.missed, "scrub: "+digest)
		}
		b.read(digest, !contains(b.own, digest), "the scrub")
		b.s.Stop()
	}
}

// fill makes the store.
func (b *bits) fill() {
	make2 := func(name string) []conantest.Set {
		recipe := conantest.Recipe(name, "1.0")
		return []conantest.Set{recipe, conantest.Package(recipe, conantest.Random("lib/"+name, 100<<10))}
	}
	b.cached, b.shared, b.own = make2("cached"), make2("shared"), make2("own")
	if !*full {
		b.shared, b.own = b.shared[:1], b.own[:1]
	}
	origin := conantest.NewServer(b.run, conantest.V2, append(append([]conantest.Set(nil), b.cached...), b.shared...)...)
	b.settings = settings{upstreams: []harness.Settings{harness.Upstream("origin", origin.URL)}}
	b.s = b.serve(b.settings)
	b.s.login()
	for _, set := range b.cached {
		if text := readBack(b.Context(), b.s.url(""), set); text != "" {
			b.Fatalf("fill: %s", text)
		}
	}
	for _, set := range append(append([]conantest.Set(nil), b.shared...), b.own...) {
		b.must(publish(b.Context(), b.s.url("/local"), b.s.token, set))
	}
	b.s.Stop()
}

// digestOf is the digest in the path of a blob.
func digestOf(path string) string {
	return filepath.Base(filepath.Dir(path)) + filepath.Base(path)
}

// flip changes one bit of a file.
func (b *bits) flip(path string) {
	content, err := os.ReadFile(path)
	b.must(err)
	content[b.random.IntN(len(content))] ^= 1 << b.random.IntN(8)
	b.overwrite(path, content)
}

func (b *bits) overwrite(path string, content []byte) {
	b.must(os.MkdirAll(filepath.Dir(path), 0o750))
	if err := os.Chmod(path, 0o600); err != nil && !os.IsNotExist(err) {
		b.must(err)
	}
	b.must(os.WriteFile(path, content, 0o600))
}

// turn flips a bit of one blob, has it found and healed by fsck, and puts it right where nothing
// else can.
func (b *bits) turn(path string) {
	good, err := os.ReadFile(path)
	b.must(err)
	digest := digestOf(path)
	healable := !contains(b.own, digest)

	b.flip(path)
	if out, err := b.s.command("fsck"); err == nil || !strings.Contains(out, "damaged "+digest) {
		b.missed = append(b.missed, "fsck: "+digest+": "+lastLine(out))
	}
	if out, err := b.s.command("fsck", "--repair"); healable != (err == nil) {
		b.unhealed = append(b.unhealed, "fsck --repair: "+digest+": "+out)
	}
	b.s.start()
	b.read(digest, healable, "fsck")
	b.s.Stop()
	if !healable {
		b.overwrite(path, good)
	}
}

// read reads everything. Only what cannot be healed may be refused.
func (b *bits) read(digest string, healable bool, after string) {
	for i, list := range [][]conantest.Set{b.cached, b.shared, b.own} {
		view := []string{"", "/local", "/local"}[i]
		for _, set := range list {
			for name, content := range set.Files {
				url := b.s.url(view + filePath(set.Revision, name))
				a := get(b.Context(), url)
				if a.status == http.StatusServiceUnavailable && (healable || sum(content) != digest) {
					// Refused while it is being healed.
					eventually(10*time.Second, func() bool { a = get(b.Context(), url); return a.status != http.StatusServiceUnavailable })
				}
				switch {
				case a.is(content):
				case a.err == nil && a.status == http.StatusOK:
					b.served = append(b.served, fmt.Sprintf("after %s: %s of %s", after, name, set.Revision))
				case healable || sum(content) != digest:
					b.unhealed = append(b.unhealed, fmt.Sprintf("after %s: %s of %s: %s", after, name, set.Revision, a))
				}
			}
		}
	}
}

func contains(sets []conantest.Set, digest string) bool {
	for _, set := range sets {
		for _, content := range set.Files {
			if sum(content) == digest {
				return true
			}
		}
	}
	return false
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
