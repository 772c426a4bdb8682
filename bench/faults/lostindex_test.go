package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"conanproxy/internal/conantest"
)

// TestLostIndex deletes the index of a store: no command takes the files for garbage, and a rebuilt
// index has every published revision, with its time, and no removed one.
func TestLostIndex(t *testing.T) {
	r := newRun(t)
	s := r.serve(settings{})
	s.login()
	sets := uploads(small(5, 50), 50<<10, "kept")
	removed := uploads(1, 50<<10, "removed")
	for _, set := range append(removed, sets...) {
		r.must(publish(r.Context(), s.url("/local"), s.token, set))
	}
	a := ask(r.Context(), http.MethodDelete, s.url("/local"+revisionPath(removed[0].Revision)), nil, s.token)
	if a.status != http.StatusOK {
		r.Fatalf("remove: %s", a)
	}
	times := map[string]string{}
	for _, set := range sets {
		times[set.String()] = s.timeOf(set)
	}
	s.Stop()
	blobs := len(s.blobs())
	for _, name := range []string{"index.db", "index.db-wal", "index.db-shm"} {
		if err := os.Remove(filepath.Join(s.data, name)); err != nil && !os.IsNotExist(err) {
			r.must(err)
		}
	}
	for _, command := range [][]string{{"serve"}, {"gc"}, {"fsck"}, {"fsck", "--repair"}} {
		what := "conanproxy " + strings.Join(command, " ") + " without the index"
		out, err := s.command(command...)
		now := len(s.blobs())
		r.figure(what, "refused, all files stay", err != nil && now == blobs, "%v, %d of %d files: %s", err, now, blobs, lastLine(out))
	}
	out, err := s.command("rebuild")
	r.figure("conanproxy rebuild", "succeeds", err == nil, "%s", lastLine(out))
	if err != nil {
		return
	}
	s.start()
	var wrong []string
	for _, set := range sets {
		if text := readBack(r.Context(), s.url("/local"), set); text != "" {
			wrong = append(wrong, text)
		}
		if now := s.timeOf(set); now != times[set.String()] {
			wrong = append(wrong, fmt.Sprintf("%s: published %s, was %s", set.Revision, now, times[set.String()]))
		}
	}
	for _, set := range removed {
		if state, text := look(r.Context(), s.url("/local"), set); state != absent {
			wrong = append(wrong, fmt.Sprintf("removed, and there again: %s %s", set.Revision, text))
		}
	}
	r.none("revisions after that", "every published one as it was, no removed one", fmt.Sprintf("%d", len(sets)), wrong)
	s.Stop()
	r.fsckIsClean(s, "on disk after that")
}

// timeOf is the answer to latest for a set's recipe or package.
func (s *server) timeOf(set conantest.Set) string {
	path := "/v2/conans/" + set.Ref.Path()
	if set.IsPackage() {
		path = revisionPath(set.Recipe()) + "/packages/" + set.PackageID
	}
	return string(get(s.r.Context(), s.url("/local"+path+"/latest")).body)
}
