package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"sort"
	"strings"
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
	if err := tw.Flush(); err != nil {
		return err
	}
	return nil
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeSVG draws each figure that has a goal as a bar on a logarithmic scale of value/goal; the line at 1 is the goal.
func (r *report) writeSVG(w io.Writer) error {
	const left, width, height = 560, 420, 18
	var rows []result
	for _, x := range r.Results {
		if x.Goal != 0 && x.Value > 0 {
			rows = append(rows, x)
		}
	}
	var b strings.Builder
	total := len(rows)*height + 50
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", left+width+90, total)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="10" y="16" font-size="13">Each figure against its goal; right of the line is better</text>`+"\n")
	middle := float64(left + width/2)
	for i, x := range rows {
		better := x.Value / x.Goal
		if x.AtMost {
			better = x.Goal / x.Value
		}
		length := math.Log10(better) * width / 4
		length = max(-width/2, min(width/2, length))
		y := 28 + i*height
		colour := "#2a7"
		if !x.reached() {
			colour = "#c43"
		}
		x0 := min(middle, middle+length)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+12, html.EscapeString(x.Row+" · "+x.Work+" · "+x.Ratio))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, x0, y+2, max(1, math.Abs(length)), height-5, colour)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%.3g %s</text>`+"\n", left+width+6, y+12, x.Value, html.EscapeString(strings.TrimSpace(x.Unit+" "+x.goalText())))
	}
	fmt.Fprintf(&b, `<line x1="%.1f" y1="24" x2="%.1f" y2="%d" stroke="#333"/></svg>`+"\n", middle, middle, total-18)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeGrowthSVG draws the curves over the number of references, both axes logarithmic; the dashed line grows as the
// logarithm of the number does.
func (r *report) writeGrowthSVG(w io.Writer) error {
	const left, top, width, height = 60, 40, 420, 260
	if len(r.Growth) == 0 {
		return errors.New("the growth is measured by row 7 only")
	}
	sizes := r.Growth[0].Sizes
	first, last := math.Log(float64(sizes[0])), math.Log(float64(sizes[len(sizes)-1]))
	const low, high = 0.25, 16 // of the vertical axis
	x := func(size int) float64 { return left + width*(math.Log(float64(size))-first)/(last-first) }
	y := func(times float64) float64 {
		return top + height*(1-math.Log(min(max(times, low), high)/low)/math.Log(high/low))
	}
	line := func(times []float64) string {
		var points []string
		for i, t := range times {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(sizes[i]), y(t)))
		}
		return strings.Join(points, " ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", left+width+260, top+height+40)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="10" y="18" font-size="13">Time by the number of references, as multiples of that with %d</text>`+"\n", sizes[0])
	for times := low; times <= high; times *= 2 {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g ×</text>`+"\n", left, left+width, y(times), y(times), left-6, y(times)+4, times)
	}
	var logarithm []float64
	for _, size := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(size), top+height+18, size)
		logarithm = append(logarithm, math.Log(float64(size))/first)
	}
	fmt.Fprintf(&b, `<polyline fill="none" stroke="#333" stroke-dasharray="5 4" points="%s"/>`+"\n", line(logarithm))
	fmt.Fprintf(&b, `<text x="%d" y="%d">– – the logarithm of the number</text>`+"\n", left+width+12, top+12)
	colours := []string{"#27a", "#2a7", "#c43", "#a4c", "#b80", "#777", "#4ac"}
	for i, c := range r.Growth {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`, colour, line(c.Times))
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s, %.2g × at %d</text>`+"\n", left+width+12, top+32+20*i, colour, html.EscapeString(c.What), c.Times[len(c.Times)-1], sizes[len(sizes)-1])
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
