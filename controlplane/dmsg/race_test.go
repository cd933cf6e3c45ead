package dmsg

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An outcome is what an attempt of a test comes to, and when.
type outcome struct {
	after time.Duration
	err   error
}

func TestRace(t *testing.T) {
	no, never := errors.New("no"), errors.New("never again")
	tests := []struct {
		name     string
		attempts []outcome
		want     int
		won      []int
		failures int
		began    []int // in ms
		took     time.Duration
	}{
		{"one", []outcome{{10 * time.Millisecond, nil}}, 1, []int{0}, 0, []int{0}, 10 * time.Millisecond},
		{"one that fails", []outcome{{10 * time.Millisecond, no}}, 1, nil, 1, []int{0}, 10 * time.Millisecond},
		{"first wins within its head start", []outcome{{90 * time.Millisecond, nil}, {0, nil}}, 1, []int{0}, 0, []int{0}, 90 * time.Millisecond},
		{"second overtakes", []outcome{{time.Second, nil}, {20 * time.Millisecond, nil}}, 1, []int{1}, 0, []int{0, 100}, 120 * time.Millisecond},
		{"a failure starts the next at once", []outcome{{5 * time.Millisecond, no}, {5 * time.Millisecond, no}, {5 * time.Millisecond, nil}}, 1, []int{2}, 2, []int{0, 5, 10}, 15 * time.Millisecond},
		{"all fail", []outcome{{time.Second, no}, {time.Second, no}}, 1, nil, 2, []int{0, 100}, 1100 * time.Millisecond},
		{"a final failure ends it", []outcome{{5 * time.Millisecond, never}, {0, nil}}, 1, nil, 1, []int{0}, 5 * time.Millisecond},
		{"two wanted", []outcome{{time.Minute, nil}, {5 * time.Millisecond, nil}, {5 * time.Millisecond, nil}}, 2, []int{1, 2}, 0, []int{0, 0, 100}, 105 * time.Millisecond},
		{"the context ends it", []outcome{{time.Hour, nil}, {time.Hour, nil}}, 1, nil, 0, []int{0, 100}, 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var mu sync.Mutex
				var began []int
				var wg sync.WaitGroup
				r := race[int]{
					n: len(tt.attempts), want: tt.want,
					headStart: func(int) time.Duration { return 100 * time.Millisecond },
					attempt: func(ctx context.Context, i int) (int, error) {
						mu.Lock()
						began = append(began, int(time.Since(begin).Milliseconds()))
						mu.Unlock()
						select {
						case <-time.After(tt.attempts[i].after):
							return i, tt.attempts[i].err
						case <-ctx.Done():
							return 0, ctx.Err()
						}
					},
					final: func(err error) bool { return errors.Is(err, never) },
					lost:  func(int) {},
					start: func(f func()) bool { wg.Go(f); return true },
				}
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				won, failed := r.run(ctx)
				if took := time.Since(begin); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				slices.Sort(won)
				if !slices.Equal(won, tt.won) || len(failed) != tt.failures {
					t.Errorf("won %v, failed %v, want %v and %d failures", won, failed, tt.won, tt.failures)
				}
				wg.Wait()
				if !slices.Equal(began, tt.began) {
					t.Errorf("attempts began at %v ms, want %v", began, tt.began)
				}
			})
		})
	}
}

// A success that came too late must be disposed of, or its stream stays open for ever.
func TestRaceDisposesOfLateSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost []int
		var wg sync.WaitGroup
		won, _ := race[int]{
			n: 2, want: 1,
			headStart: func(int) time.Duration { return 0 },
			attempt: func(_ context.Context, i int) (int, error) { // deaf to its context
				time.Sleep(time.Duration(2-i) * time.Second)
				return i, nil
			},
			lost:  func(i int) { lost = append(lost, i) },
			start: func(f func()) bool { wg.Go(f); return true },
		}.run(context.Background())
		wg.Wait()
		if !slices.Equal(won, []int{1}) || !slices.Equal(lost, []int{0}) {
			t.Errorf("won %v, lost %v", won, lost)
		}
	})
}
