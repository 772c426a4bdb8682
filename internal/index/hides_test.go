package index

import (
	"testing"
	"time"

	"conanproxy/internal/conan"
)

func TestHides(t *testing.T) {
	ctx := t.Context()
	db := openForTest(t, t.TempDir())
	by := conan.Actor{Name: "ann", Address: "::1"}
	first := Hide{Member: "release", Revision: recipeOf("aa/1@me/test", "r"), Reason: "bad"}
	second := Hide{View: "team", Revision: recipeOf("bb/1", "r"), Reason: "worse"}
	failsWith(t, "hide", db.Hide(ctx, []Hide{first, second}, by, noon), nil)
	first.Reason = "really bad"
	failsWith(t, "hide again", db.Hide(ctx, []Hide{first}, by, noon.Add(time.Hour)), nil)
	hides, err := db.Hides(ctx)
	failsWith(t, "list", err, nil)
	first.ID, first.By, first.Time = 1, "ann", noon.Add(time.Hour).UTC()
	second.ID, second.By, second.Time = 2, "ann", noon.UTC()
	same(t, "hides", hides, []Hide{first, second})

	gone := Hide{ID: 9, Revision: first.Revision}
	failsWith(t, "end one that is not there, too", db.Unhide(ctx, []Hide{first, gone}, by, noon), conan.ErrNotFound)
	failsWith(t, "end one", db.Unhide(ctx, []Hide{second}, by, noon.Add(2*time.Hour)), nil)
	hides, err = db.Hides(ctx)
	failsWith(t, "list again", err, nil)
	same(t, "what stays", hides, []Hide{first})

	var targets []string
	lines, err := db.AuditLines(ctx, AuditFilter{Limit: 10})
	failsWith(t, "audit", err, nil)
	for _, l := range lines {
		targets = append(targets, string(l.Action)+" "+l.Member+" "+l.Target)
	}
	same(t, "audit", targets, []string{
		"unhide  bb/1#r in view team: worse", "hide release aa/1@me/test#r: really bad",
		"hide  bb/1#r in view team: worse", "hide release aa/1@me/test#r: bad",
	})
	failsWith(t, "sweep", db.SweepAudit(ctx, noon.Add(time.Hour)), nil)
	lines, err = db.AuditLines(ctx, AuditFilter{Limit: 10})
	failsWith(t, "audit after the sweep", err, nil)
	same(t, "lines that are kept", len(lines), 2)
}
