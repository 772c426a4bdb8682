package conformance

import (
	"fmt"
	"testing"
)

// conformanceCase is one case of a catalogue of what a Conan server has to do.
type conformanceCase[W any] struct {
	number  int
	name    string
	differs string // what is demanded differently from the catalogue, and why
	run     func(t *testing.T, w W)
}

// runCases runs a catalogue, in which the numbers from 1 to last must all be.
func runCases[W any](t *testing.T, w W, last int, cases []conformanceCase[W]) {
	t.Helper()
	if len(cases) != last {
		t.Errorf("%d cases, want %d", len(cases), last)
	}
	for i, c := range cases {
		if c.number != i+1 {
			t.Errorf("case %d (%s) stands where case %d should", c.number, c.name, i+1)
		}
		t.Run(fmt.Sprintf("case %02d %s", c.number, c.name), func(t *testing.T) {
			if c.differs != "" {
				t.Logf("demanded differently: %s", c.differs)
			}
			c.run(t, w)
		})
	}
}
