package main

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// drawGrowth draws how times grow with the number of references, both axes logarithmic, into an SVG
// file.
func (r *report) drawGrowth(file string) error {
	if len(r.Growth) == 0 {
		return errors.New("only the row growth has curves to draw")
	}
	p := plot.New()
	sizes := r.Growth[0].Sizes
	p.X.Label.Text = "references"
	p.Y.Label.Text = fmt.Sprintf("time as a multiple of that with %d", sizes[0])
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: 3}
	p.Legend.Top, p.Legend.Left = true, true
	var lines []any
	for _, c := range r.Growth {
		lines = append(lines, c.What, points(sizes, func(i int) float64 { return c.Times[i] }))
	}
	first := math.Log(float64(sizes[0]))
	lines = append(lines, "the logarithm of the number", points(sizes, func(i int) float64 { return math.Log(float64(sizes[i])) / first }))
	if err := plotutil.AddLinePoints(p, lines...); err != nil {
		return err
	}
	return p.Save(18*vg.Centimeter, 12*vg.Centimeter, file)
}

// points makes a curve over sizes.
func points(sizes []int, y func(int) float64) plotter.XYs {
	xys := make(plotter.XYs, len(sizes))
	for i, size := range sizes {
		xys[i] = plotter.XY{X: float64(size), Y: y(i)}
	}
	return xys
}

// drawAnswers draws a bar chart into an SVG file. A bar shows how many requests a second a
// contestant answers, as a multiple of what the bare handler answers.
func (r *report) drawAnswers(file string) error {
	shown := []string{"conanproxy", "conanproxy with tokens", "nginx proxy_cache", "bare handler"}
	groups := make([]plotter.Values, len(shown))
	var names []string
	for _, x := range r.Results {
		if x.Row != "answers" || x.Raw == nil {
			continue
		}
		names = append(names, x.Work)
		for i, name := range shown {
			groups[i] = append(groups[i], x.Raw[name+" requests/s"]/x.Raw["bare handler requests/s"])
		}
	}
	if len(names) == 0 {
		return errors.New("only the row answers has bars to draw")
	}
	p := plot.New()
	p.Y.Label.Text = "requests a second, bare handler = 1"
	p.Y.Min = 0
	const width = 10
	for i, values := range groups {
		bars, err := plotter.NewBarChart(values, vg.Points(width))
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width = plotutil.Color(i), 0
		bars.Offset = vg.Points(width * (float64(i) - float64(len(groups)-1)/2))
		p.Add(bars)
		p.Legend.Add(shown[i], bars)
	}
	p.Legend.Top = true
	p.NominalX(names...)
	p.X.Tick.Label.Rotation = math.Pi / 8
	p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = -1, -0.5
	return p.Save(24*vg.Centimeter, 12*vg.Centimeter, file)
}
