package setup

import (
	"context"
	"errors"
	"time"
)

// A race is several setup nodes being asked for one route.
type race struct {
	c       *Client
	req     *Request
	results chan result
	running int
	// blaming are the nodes that say that it is the path that fails. One that lies must not
	// keep us from all paths, so another one has to say so too, where there is one.
	blaming []*nodeState
}

// opinions is how many nodes have to find a fault of the path.
const opinions = 2

type result struct {
	node  *nodeState
	route Route
	bad   *Error
}

// run asks one node after the other, as Establish says.
func (r *race) run(ctx context.Context, nodes []*nodeState) (Route, error) {
	var worst *Error
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		var next <-chan time.Time
		if len(nodes) > 0 {
			next = wait.C
		}
		select {
		case <-next:
			r.start(ctx, nodes[0])
			nodes = nodes[1:]
			wait.Reset(headStart)
		case res := <-r.results:
			r.running--
			if res.bad == nil {
				for _, n := range r.blaming {
					r.c.note(n, r.c.cfg.Now())
				}
				return res.route, nil
			}
			worst = moreTelling(worst, res.bad)
			if res.bad.OfPath() {
				r.blaming = append(r.blaming, res.node)
			}
			switch {
			case len(r.blaming) == opinions, len(nodes) == 0 && r.running == 0:
				return Route{}, worst
			case len(nodes) > 0:
				wait.Reset(0)
			}
		case <-ctx.Done():
			if worst == nil || errors.Is(ctx.Err(), context.Canceled) {
				return Route{}, timedOut(ctx)
			}
			return Route{}, worst
		}
	}
}

// timedOut says that no node has answered, or that nobody waits any more.
func timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return refuse(CodeUnreachable, "no setup node has answered in time")
	}
	return ctx.Err()
}

func (r *race) start(ctx context.Context, n *nodeState) {
	r.running++
	go func() {
		route, bad := r.c.ask(ctx, n, r.req)
		r.results <- result{n, route, bad}
	}()
}

// finish takes the answers that nobody waits for any more, after run's context has
// ended: they come at once.
func (r *race) finish() {
	for ; r.running > 0; r.running-- {
		if res := <-r.results; res.bad == nil {
			r.c.cfg.Table.Release(res.route.InLabel)
		}
	}
}

// moreTelling returns the error that says more about what to do: one about the path
// before one of a node, and any answer before silence.
func moreTelling(a, b *Error) *Error {
	switch {
	case a == nil, b.OfPath() && !a.OfPath():
		return b
	case a.Code == CodeUnreachable && !a.OfPath() && b.Code != CodeUnreachable:
		return b
	}
	return a
}
