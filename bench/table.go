package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"
	"text/tabwriter"
)

// series is one measured quantity of one contestant over the rounds.
type series []float64

// median of an empty series is NaN.
func (s series) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	v := append(series(nil), s...)
	sort.Float64s(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// spread is (max-min)/median, the honest width of a few rounds.
func (s series) spread() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	low, high := s[0], s[0]
	for _, x := range s {
		low, high = min(low, x), max(high, x)
	}
	return (high - low) / s.median()
}

// result is one line of the report: a ratio with the figure that it should reach.
type result struct {
	Row    string             `json:"row"`
	Work   string             `json:"work"`
	Ratio  string             `json:"ratio"`            // what is divided by what, or the quantity
	Value  float64            `json:"value"`            //
	Unit   string             `json:"unit,omitempty"`   // empty for a ratio
	Goal   float64            `json:"goal,omitempty"`   // 0: shown for comparison only
	AtMost bool               `json:"at_most"`          // the goal is an upper bound
	Spread float64            `json:"spread,omitempty"` // of our own series
	Raw    map[string]float64 `json:"raw,omitempty"`    // medians of the contestants
}

func (r result) reached() bool {
	if r.Goal == 0 {
		return true
	}
	if r.AtMost {
		return r.Value <= r.Goal
	}
	return r.Value >= r.Goal
}

func (r result) goalText() string {
	switch {
	case r.Goal == 0:
		return ""
	case r.AtMost:
		return fmt.Sprintf("≤ %.4g", r.Goal)
	}
	return fmt.Sprintf("≥ %.4g", r.Goal)
}

// report is the outcome of a run.
type report struct {
	Machine string   `json:"machine"`
	Command string   `json:"command"`
	Seed    uint64   `json:"seed"`
	Results []result `json:"results"`
	Growth  []curve  `json:"growth,omitempty"`
}

// curve is how the time of one kind of work grows: as multiples of the time at the smallest size.
type curve struct {
	What  string    `json:"what"`
	Sizes []int     `json:"sizes"` // references
	Times []float64 `json:"times"`
}

func (r *report) add(res ...result) { r.Results = append(r.Results, res...) }

func (r *report) writeText(w io.Writer) error {
	fmt.Fprintf(w, "machine: %s\ncommand: %s\nseed: %d\n\n", r.Machine, r.Command, r.Seed)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "row\twork\tfigure\tvalue\tgoal\treached\tspread")
	for _, x := range r.Results {
		spread := ""
		if x.Spread > 0 {
			spread = fmt.Sprintf("±%.0f%%", x.Spread*50)
		}
		reached := ""
		if x.Goal != 0 {
			reached = map[bool]string{true: "yes", false: "NO"}[x.reached()]
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.4g %s\t%s\t%s\t%s\n", x.Row, x.Work, x.Ratio, x.Value, x.Unit, x.goalText(), reached, spread)
	}
	return tw.Flush()
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
