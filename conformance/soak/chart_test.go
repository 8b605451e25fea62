package soak

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// Sizes of the graph, in pixels.
const (
	chartWidth  = 560 // of one panel with its margins
	chartHeight = 220
	marginLeft  = 64
	marginRight = 16
	marginTop   = 30
	marginFoot  = 34
	chartHead   = 66
)

// colours tell the processes apart, for the colour-blind too (Okabe and Ito).
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000", "#7f7f7f"}

// chart writes a graph in SVG: a panel for each quantity, a line for each process.
func (c *course) chart(w io.Writer, title string) error {
	b := new(strings.Builder)
	rows := (len(quantities) + 1) / 2
	width, height := 2*chartWidth, chartHead+rows*chartHeight
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		width, height, width, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#fff"/><text x="%d" y="22" font-size="15">%s</text>`+"\n", width, height, marginLeft, escape(title))
	for i, p := range c.processes {
		x := marginLeft + i*130
		fmt.Fprintf(b, `<path d="M%d 43h22" stroke="%s" stroke-width="2"/><text x="%d" y="47">%s</text>`+"\n",
			x, colours[i%len(colours)], x+28, escape(p.name))
	}
	for i := range quantities {
		c.panel(b, i, i%2*chartWidth, chartHead+i/2*chartHeight)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// panel draws one quantity, with its upper left corner at x, y. The second half of
// the load, whose trend is judged, is shaded; dots are what there was at rest.
func (c *course) panel(b *strings.Builder, q, x, y int) {
	const w, h = chartWidth - marginLeft - marginRight, chartHeight - marginTop - marginFoot
	x, y = x+marginLeft, y+marginTop
	first, last := c.before.at.Seconds(), max(c.after.at.Seconds(), c.before.at.Seconds()+1)
	highest := 0.0
	all := append(append([]sample{c.before}, c.load...), c.after)
	for _, s := range all {
		for _, held := range s.held {
			highest = max(highest, held[q]/quantities[q].scale)
		}
	}
	step := tick(highest / 4)
	top := max(step*math.Ceil(highest/step), step)
	px := func(at time.Duration) float64 { return float64(x) + (at.Seconds()-first)/(last-first)*w }
	py := func(v float64) float64 { return float64(y) + h - v/top*h }

	name := quantities[q].name
	if unit := quantities[q].unit; unit != "" {
		name += " (" + unit + ")"
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", x, y-10, escape(name))
	if len(c.load) > 0 {
		from, to := px(c.load[len(c.load)/2].at), px(c.load[len(c.load)-1].at)
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#f0f0f0"/>`+"\n", from, y, to-from, h)
	}
	for v := 0.0; v <= top*1.001; v += step {
		fmt.Fprintf(b, `<path d="M%d %.1fh%d" stroke="#ccc"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n", x, py(v), w, x-6, py(v)+4, v)
	}
	every := tick((last - first) / 8)
	for at := math.Ceil(first/every) * every; at <= last; at += every {
		px := px(time.Duration(at * float64(time.Second)))
		fmt.Fprintf(b, `<path d="M%.1f %dv5" stroke="#666"/><text x="%.1f" y="%d" text-anchor="middle">%.4g</text>`+"\n", px, y+h, px, y+h+17, at+0) // and no -0
	}
	fmt.Fprintf(b, `<path d="M%d %dv%dh%d" fill="none" stroke="#666"/><text x="%d" y="%d" text-anchor="end">s</text>`+"\n", x, y, h, w, x+w, y+h+30)
	for p := range c.processes {
		colour := colours[p%len(colours)]
		b.WriteString(`<polyline fill="none" stroke-width="1.3" stroke="` + colour + `" points="`)
		for _, s := range c.load {
			fmt.Fprintf(b, "%.1f,%.1f ", px(s.at), py(s.held[p][q]/quantities[q].scale))
		}
		b.WriteString("\"/>\n")
		for _, s := range []sample{c.before, c.after} {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", px(s.at), py(s.held[p][q]/quantities[q].scale), colour)
		}
	}
}

// tick is the next of 1, 2, 5, 10, 20, … from v on, so that there are few marks
// with round numbers.
func tick(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // to memory
	return b.String()
}

// table writes every sample as a line of comma-separated values.
func (c *course) table(w io.Writer) error {
	var b strings.Builder
	b.WriteString("seconds,phase,process")
	for _, q := range quantities {
		b.WriteString("," + q.name)
	}
	b.WriteString("\n")
	row := func(phase string, s sample) {
		for p, held := range s.held {
			fmt.Fprintf(&b, "%.1f,%s,%s", s.at.Seconds(), phase, c.processes[p].name)
			for _, v := range held {
				fmt.Fprintf(&b, ",%.0f", v)
			}
			b.WriteString("\n")
		}
	}
	row("rest", c.before)
	for _, s := range c.load {
		row("load", s)
	}
	row("rest", c.after)
	_, err := io.WriteString(w, b.String())
	return err
}

func TestTheChartShowsEveryProcessInEveryPanel(t *testing.T) {
	c := course{processes: []process{{name: "a<b"}, {name: "client"}}}
	for i := range 12 {
		s := sample{at: time.Duration(i-1) * time.Second, held: make([]figures, 2)}
		for q := range quantities {
			s.held[1][q] = float64(i) * quantities[q].scale
		}
		switch i {
		case 0:
			c.before = s
		case 11:
			c.after = s
		default:
			c.load = append(c.load, s)
		}
	}
	var b strings.Builder
	if err := c.chart(&b, "two processes"); err != nil {
		t.Fatal(err)
	}
	lines, texts := 0, map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "polyline" {
				lines++
			}
		case xml.CharData:
			texts[string(token)]++
		}
	}
	if want := 2 * len(quantities); lines != want {
		t.Errorf("%d lines, want %d", lines, want)
	}
	for _, want := range []string{"two processes", "a<b", "client", "resident memory (MiB)", "goroutines", "s"} {
		if texts[want] == 0 {
			t.Errorf("the chart does not say %q", want)
		}
	}
}
