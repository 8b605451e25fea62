package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// When the progress of a stream is shown, and how often.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// progress is a line that says how far a stream is, rewritten in place. A nil
// progress says nothing.
type progress struct {
	w     io.Writer
	now   func() time.Time
	limit int64 // rows to expect, 0 when that is not known

	start, shown time.Time
	rows, bytes  int64
	width        int // of what stands in the line
}

func newProgress(w io.Writer, limit int64, now func() time.Time) *progress {
	return &progress{w: w, now: now, limit: limit, start: now()}
}

// add counts a batch.
func (p *progress) add(rows int, bytes int64) {
	if p == nil {
		return
	}
	p.rows += int64(rows)
	p.bytes += bytes
	if now := p.now(); now.Sub(p.start) >= progressAfter && now.Sub(p.shown) >= progressEvery {
		p.shown = now
		p.show(p.text(now.Sub(p.start)))
	}
}

// text is what there is to say after so much time.
func (p *progress) text(took time.Duration) string {
	bar := ""
	if p.limit > 0 {
		const cells = 20
		done := min(cells, int(cells*p.rows/p.limit))
		bar = fmt.Sprintf("[%s%s] %3d%%  ", strings.Repeat("#", done), strings.Repeat(".", cells-done), min(100, 100*p.rows/p.limit))
	}
	seconds := took.Seconds()
	return fmt.Sprintf("%s%d rows  %s  %.0f rows/s  %s/s  %s", bar, p.rows, byteCount(float64(p.bytes)),
		float64(p.rows)/seconds, byteCount(float64(p.bytes)/seconds), took.Round(time.Second))
}

// show replaces the line.
func (p *progress) show(text string) {
	fmt.Fprintf(p.w, "\r%-*s", p.width, text)
	p.width = len(text)
}

// clear removes the line.
func (p *progress) clear() {
	if p == nil || p.width == 0 {
		return
	}
	p.show("")
	fmt.Fprint(p.w, "\r")
	p.width = 0
}

// byteCount is a number of bytes for people.
func byteCount(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
