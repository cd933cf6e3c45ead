package setup

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A job is one route being made by a Node.
type job struct {
	n     *Node
	s     *statement
	in    *routeRequest
	stops []stop // of the path, in its order
}

// A stop is a visor on the path: its two neighbours, and the labels that it gave out
// for packets from them. At the end there is no next, where the route turns likewise.
type stop struct {
	pk         cipher.PubKey
	prev, next neighbour
	fromPrev   label
	fromNext   label
	last       bool
}

func newJob(n *Node, s *statement, in *routeRequest) *job {
	j := &job{n: n, s: s, in: in, stops: make([]stop, len(in.Path))}
	before := s.Source
	for i, step := range in.Path {
		j.stops[i] = stop{pk: step.PK, prev: neighbour{before, step.Type}, last: i == len(in.Path)-1}
		if i > 0 {
			j.stops[i-1].next = step
		}
		before = step.PK
	}
	return j
}

// run makes the two rounds and returns the label that the first visor gave out.
func (j *job) run(ctx context.Context) (label, *Error) {
	if bad := j.round(ctx, j.reserve); bad != nil {
		return 0, bad
	}
	if bad := j.round(ctx, j.install); bad != nil {
		return 0, bad
	}
	return j.stops[0].fromPrev, nil
}

// round asks all visors at once. The first one that fails ends it.
func (j *job) round(ctx context.Context, ask func(context.Context, int) *Error) *Error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first *Error
	)
	for i := range j.stops {
		wg.Go(func() {
			bad := ask(ctx, i)
			if bad == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				bad.At = j.stops[i].pk
				first = bad
				cancel()
			}
		})
	}
	wg.Wait()
	return first
}

// reserve gets the labels of stop i. A visor in the middle is not told which of its
// neighbours is nearer to the source: they are named in the order of their keys.
func (j *job) reserve(ctx context.Context, i int) *Error {
	s := &j.stops[i]
	want := []struct {
		from neighbour
		to   *label
	}{{s.prev, &s.fromPrev}, {s.next, &s.fromNext}}
	if s.last {
		want = want[:1]
	} else if s.next.PK.Compare(s.prev.PK) < 0 {
		slices.Reverse(want)
	}
	var in reserveRequest
	for _, w := range want {
		in.From = append(in.From, w.from)
	}
	var out reserveReply
	if bad := j.call(ctx, s.pk, pathReserve, &in, &out); bad != nil {
		return bad
	}
	if len(out.Labels) != len(want) || slices.Contains(out.Labels, 0) {
		return refuse(CodeInternal, "gives out %d labels where %d were asked for", len(out.Labels), len(want))
	}
	for k, w := range want {
		*w.to = out.Labels[k]
	}
	return nil
}

// install makes the rules of stop i.
func (j *job) install(ctx context.Context, i int) *Error {
	s := &j.stops[i]
	back := j.in.InLabel // what the visor before took for packets from here
	if i > 0 {
		back = j.stops[i-1].fromNext
	}
	if s.last && !j.s.turns() {
		return j.call(ctx, s.pk, pathAccept, &acceptRequest{
			Signed: j.in.Signed, Signature: j.in.Signature,
			Neighbour: s.prev, InLabel: s.fromPrev, OutLabel: back,
		}, &none{})
	}
	in := installRequest{TTL: j.s.TTL}
	if s.last {
		in.Rules = []rule{{In: s.prev, InLabel: s.fromPrev, Out: s.prev, OutLabel: back}}
	} else {
		in.Rules = []rule{
			{In: s.prev, InLabel: s.fromPrev, Out: s.next, OutLabel: j.stops[i+1].fromPrev},
			{In: s.next, InLabel: s.fromNext, Out: s.prev, OutLabel: back},
		}
		slices.SortFunc(in.Rules, func(a, b rule) int { return bytes.Compare(a.In.PK[:], b.In.PK[:]) })
	}
	return j.call(ctx, s.pk, pathInstall, &in, &none{})
}

// rollBack has every visor take back what it made. Those that do not answer forget it
// when it expires.
func (j *job) rollBack() {
	ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range j.stops {
		s := &j.stops[i]
		var in releaseRequest
		for _, l := range []label{s.fromPrev, s.fromNext} {
			if l != 0 {
				in.Labels = append(in.Labels, l)
			}
		}
		if len(in.Labels) == 0 {
			continue
		}
		wg.Go(func() {
			if bad := j.call(ctx, s.pk, pathRelease, &in, &none{}); bad != nil {
				j.n.cfg.Log.Debug().Str("code", string(bad.Code)).Msg("labels are left to expire")
			}
		})
	}
	wg.Wait()
}

func (j *job) call(ctx context.Context, pk cipher.PubKey, path string, in, out any) *Error {
	return call(ctx, j.n.cfg.Transport, pk, HopPort, path, in, out)
}
