package ctl

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// barWidth is how many columns the bar itself takes, and barEvery how often it is
	// drawn.
	barWidth = 30
	barEvery = 100 * time.Millisecond
)

// A progress draws how far a download is, on a line of standard error, if that is a
// terminal. It is the Writer that sees the bytes go by; one goroutine uses it.
type progress struct {
	w           io.Writer // nil: nobody looks
	begun       time.Time
	drawn       time.Time
	had, n      int64
	total       int64 // -1: not known
	columnsUsed int
}

// newProgress begins at have of total bytes; total is -1 where it is not known.
func newProgress(p *Program, have, total int64) *progress {
	b := &progress{begun: time.Now(), had: have, n: have, total: total}
	if isTerminal(p.err) && !p.json {
		b.w = p.err
	}
	return b
}

// Write counts b.
func (b *progress) Write(buf []byte) (int, error) {
	b.n += int64(len(buf))
	if b.w != nil {
		if now := time.Now(); now.Sub(b.drawn) >= barEvery {
			b.drawn = now
			b.draw(now)
		}
	}
	return len(buf), nil
}

// end wipes the line.
func (b *progress) end() {
	if b.w != nil && b.columnsUsed > 0 {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", b.columnsUsed))
	}
}

func (b *progress) draw(now time.Time) {
	line := b.line(now.Sub(b.begun))
	width := len([]rune(line))
	fmt.Fprintf(b.w, "\r%s%s", line, strings.Repeat(" ", max(0, b.columnsUsed-width)))
	b.columnsUsed = width
}

// line says how far it is after some time.
func (b *progress) line(elapsed time.Duration) string {
	rate := 0.0
	if elapsed > 0 {
		rate = float64(b.n-b.had) / elapsed.Seconds()
	}
	text := fmt.Sprintf("%9s  %9s/s", size(uint64(b.n)), size(uint64(rate)))
	if b.total <= 0 {
		return text
	}
	share := min(float64(b.n)/float64(b.total), 1)
	full := int(share * barWidth)
	text = fmt.Sprintf("%3d%% [%s%s] %s", int(share*100), strings.Repeat("█", full), strings.Repeat("·", barWidth-full), text)
	if left := b.total - b.n; rate > 0 && left > 0 {
		text += "  " + age(time.Duration(min(float64(left)/rate, 1e6)*float64(time.Second))) + " left"
	}
	return text
}
