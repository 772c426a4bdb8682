package faults

import (
	"strings"
	"testing"
)

// The page keeps what a person wrote and the tables of other commands, and replaces the one of the
// same command.
func TestReportPage(t *testing.T) {
	one := &report{Command: "go test ./bench/faults -run=Fill", Figures: []figure{{"fill", "bytes | all", "≤ 1", "2", false}}}
	two := &report{Command: "go test ./bench/faults -run=Kill", Figures: []figure{{"kill", "rounds", "0", "0", true}}}
	page := "# Title\n\nBefore.\n\n" + tableBegin + "\n" + tableEnd + "\n\nAfter.\n"
	page = one.page(page)
	page = two.page(page)
	one.Figures[0].Measured, one.Figures[0].Reached = "1", true
	page = one.page(page)
	for text, times := range map[string]int{
		"# Title": 1, "Before.": 1, "After.": 1, tableBegin: 1, tableEnd: 1,
		"    go test ./bench/faults -run=Fill\n":   1,
		"    go test ./bench/faults -run=Kill\n":   1,
		"| fill | bytes \\| all | ≤ 1 | 1 | yes |": 1,
		"| kill | rounds | 0 | 0 | yes |":          1,
		"| NO |":                                   0,
	} {
		if got := strings.Count(page, text); got != times {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, times, page)
		}
	}
	if again := one.page(page); again != page {
		t.Errorf("the same report again changes the page:\n%s\n---\n%s", page, again)
	}
}
