package run

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
)

// A Sample is what one measurement gave, by metric.
type Sample map[string]float64

// A Contestant is one of the things that are compared.
type Contestant struct {
	Name string
	Run  func(context.Context) (Sample, error)
}

// A Series holds the samples of each contestant, one per round.
type Series map[string][]Sample

// Rounds measures the contestants one after the other, e.Pairs times over. It
// stops at the first error.
func (e *Env) Rounds(ctx context.Context, contestants ...Contestant) (Series, error) {
	s := make(Series)
	for round := range e.Pairs {
		for _, c := range contestants {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			sample, err := c.Run(ctx)
			if err != nil {
				return nil, fmt.Errorf("bench: %s, round %d: %w", c.Name, round+1, err)
			}
			s[c.Name] = append(s[c.Name], sample)
			ev := e.Log.Info()
			for _, m := range slices.Sorted(maps.Keys(sample)) {
				ev = ev.Float64(m, Round(sample[m]))
			}
			ev.Msgf("%d/%d %s", round+1, e.Pairs, c.Name)
		}
	}
	return s, nil
}

// Values returns one metric of one contestant, by round.
func (s Series) Values(contestant, metric string) []float64 {
	var v []float64
	for _, sample := range s[contestant] {
		v = append(v, sample[metric])
	}
	return v
}

// Median returns the median over the rounds, NaN if there are none.
func (s Series) Median(contestant, metric string) float64 {
	return Median(s.Values(contestant, metric))
}

// Ratio returns the median over the rounds of a's metric divided by b's in the
// same round, NaN if there are none.
func (s Series) Ratio(a, b, metric string) float64 {
	va, vb := s.Values(a, metric), s.Values(b, metric)
	r := make([]float64, min(len(va), len(vb)))
	for i := range r {
		r[i] = va[i] / vb[i]
	}
	return Median(r)
}

// Median returns the middle value of v, the mean of the two middle ones where
// their number is even, and NaN where there is none. v is left alone.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return (v[m-1] + v[m]) / 2
}

// Round returns f with four significant digits, for people.
func Round(f float64) float64 {
	if f == 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return f
	}
	p := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(f))))
	return math.Round(f*p) / p
}
