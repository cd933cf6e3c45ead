package ctl

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// A table lines up columns. Rows may be followed by notes, which span them.
type table struct {
	head  []string
	rows  [][]string
	notes map[int][]string // by the row they follow
}

func newTable(head ...string) *table { return &table{head: head, notes: map[int][]string{}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// note adds a line below the last row, if there is something to say.
func (t *table) note(text string) {
	if text != "" {
		at := len(t.rows) - 1
		t.notes[at] = append(t.notes[at], text)
	}
}

// write prints the table, or none if it is empty.
func (t *table) write(w io.Writer, none string) {
	if len(t.rows) == 0 {
		fmt.Fprintln(w, none)
		return
	}
	var lines strings.Builder
	tw := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	tw.Flush()
	for i, line := range strings.Split(strings.TrimSuffix(lines.String(), "\n"), "\n") {
		fmt.Fprintln(w, strings.TrimRight(line, " "))
		for _, note := range t.notes[i-1] {
			fmt.Fprintln(w, "  └ "+note)
		}
	}
}

// dash stands for what is not known.
const dash = "–"

// size writes n bytes with a binary unit and three digits.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 999.5 && i < len(units)-1; i++ {
		v /= 1024
	}
	digits := 0
	if v < 9.995 {
		digits = 2
	} else if v < 99.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, v, units[i])
}

// millis writes a round-trip time of some microseconds.
func millis(micros int64) string {
	if micros <= 0 {
		return dash
	}
	digits := 0
	if micros < 10_000 {
		digits = 2
	} else if micros < 100_000 {
		digits = 1
	}
	return fmt.Sprintf("%.*f ms", digits, float64(micros)/1000)
}

// age writes how long d is, roughly: at most two units.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// since writes how long ago t was.
func since(t *time.Time) string {
	if t == nil || t.IsZero() {
		return dash
	}
	return age(time.Since(*t))
}

// trouble writes the last error and how long ago it was.
func trouble(text string, at *time.Time) string {
	if text == "" || at == nil {
		return text
	}
	return text + " (" + since(at) + " ago)"
}
