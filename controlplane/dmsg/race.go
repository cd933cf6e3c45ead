package dmsg

import (
	"context"
	"time"
)

// A race makes attempts at one thing: the first at once, each further one after a
// head start for those before it, or as soon as one of them fails.
type race[T any] struct {
	n         int                                         // attempts there are
	want      int                                         // successes that are enough
	headStart func(i int) time.Duration                   // what attempt i gets before the next one begins
	attempt   func(ctx context.Context, i int) (T, error) // gets a context that ends with the race
	final     func(error) bool                            // whether a failure ends the race; nil: none does
	lost      func(T)                                     // disposes of a success that came too late
	start     func(func()) bool                           // runs a goroutine; false: the client is closed
}

// A result of one attempt.
type result[T any] struct {
	i   int
	val T
	err error
}

// run returns the successes, at most want, and the failures in the order in which
// they came. It ends with the first final failure, when all attempts have failed, or
// with ctx; attempts that are still under way are cancelled and not waited for.
func (r race[T]) run(ctx context.Context) (won []T, failed []result[T]) {
	if r.n == 1 { // no goroutine, no timer: this is most dials
		val, err := r.attempt(ctx, 0)
		if err != nil {
			return nil, []result[T]{{err: err}}
		}
		return []T{val}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan result[T]) // unbuffered: a success is taken, or its attempt knows that it lost
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	begun, running := 0, 0
	begin := func() {
		i := begun
		begun, running = begun+1, running+1
		if !r.start(func() { r.one(ctx, i, results) }) {
			begun = r.n
			running--
			return
		}
		timer.Reset(r.headStart(i))
	}
	for range min(r.want, r.n) {
		begin()
	}
	for running > 0 {
		select {
		case <-ctx.Done():
			return won, failed
		case <-timer.C:
			if begun < r.n {
				begin()
			}
		case got := <-results:
			running--
			if got.err == nil {
				if won = append(won, got.val); len(won) == r.want {
					return won, failed
				}
				continue
			}
			failed = append(failed, got)
			if r.final != nil && r.final(got.err) {
				return won, failed
			}
			if begun < r.n {
				begin()
			}
		}
	}
	return won, failed
}

// one makes attempt i and hands over what came of it.
func (r race[T]) one(ctx context.Context, i int, results chan<- result[T]) {
	val, err := r.attempt(ctx, i)
	select {
	case results <- result[T]{i, val, err}:
	case <-ctx.Done():
		if err == nil {
			r.lost(val)
		}
	}
}
