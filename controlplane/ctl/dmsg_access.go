package ctl

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// maxServed bounds the connections that dmsg forward joins at once.
	maxServed = 1024
	// acceptPause is how long accepting rests after a failure.
	acceptPause = 100 * time.Millisecond
)

// An access says who may come in.
type access struct {
	allow  []cipher.PubKey
	public bool
}

// accessFlags adds --allow and --public to a command.
func accessFlags(cmd *kingpin.CmdClause) *access {
	var a access
	cmd.Flag("allow", "A key that may connect. May be given several times.").PlaceHolder("PK").SetValue(keysValue{&a.allow})
	cmd.Flag("public", "Every key may connect.").BoolVar(&a.public)
	return &a
}

// check says what is wrong with a for a command that listens, or does not.
func (a *access) check(listens bool) error {
	switch {
	case !listens && (a.public || len(a.allow) > 0):
		return api.ErrBadRequest.With("--allow and --public belong to --listen")
	case listens && a.public && len(a.allow) > 0:
		return api.ErrBadRequest.With("--allow and --public are both set; --public lets everybody in, so decide for one")
	case listens && !a.public && len(a.allow) == 0:
		return api.ErrBadRequest.With("who may connect? Give --allow PK for each key, or --public for everybody")
	}
	return nil
}

// permits says whether st's peer may come in.
func (a *access) permits(st *dmsg.Stream) bool {
	return a.public || slices.Contains(a.allow, st.Peer().PK)
}

// A door lets streams in whose keys may, and of each key no more than its share, so that
// one does not keep out the others. It notes who may not: at most once in a second, for
// anybody can knock. accept belongs to one goroutine.
type door struct {
	p      *Program
	lis    *dmsg.Listener
	access *access
	limit  int       // places for all keys together
	quiet  time.Time // until when refusals are not noted

	mu     sync.Mutex
	inside map[cipher.PubKey]int
}

// share is how many places one key may have: all where it is the only one, else an equal
// part, but no less than a quarter.
func (d *door) share() int {
	if d.access.public {
		return max(d.limit/4, 1)
	}
	return max(d.limit/min(len(d.access.allow), 4), 1)
}

// accept returns the next stream that may come in; leave gives its place back.
func (d *door) accept() (*dmsg.Stream, error) {
	for {
		st, err := d.lis.AcceptStream()
		if err != nil {
			return nil, err
		}
		why := " may not connect and was refused; --allow lets it in"
		if d.access.permits(st) {
			if d.enter(st.Peer().PK) {
				return st, nil
			}
			why = " has its share of the connections; one more was refused"
		}
		st.Reset()
		if now := time.Now(); now.After(d.quiet) {
			d.quiet = now.Add(time.Second)
			d.p.notice(note{Event: "refused", Peer: st.Peer().String(), Text: st.Peer().String() + why})
		}
	}
}

func (d *door) enter(pk cipher.PubKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside == nil {
		d.inside = map[cipher.PubKey]int{}
	}
	if d.inside[pk] >= d.share() {
		return false
	}
	d.inside[pk]++
	return true
}

// leave gives back the place that accept took for st.
func (d *door) leave(st *dmsg.Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pk := st.Peer().PK
	if d.inside[pk]--; d.inside[pk] == 0 {
		delete(d.inside, pk)
	}
}

// serveAll calls handle, in a goroutine each, for what accept returns, until ctx ends,
// when closer makes accept fail, or accept says that it is closed. Beyond limit
// connections at once, it waits. It returns when all calls have.
func serveAll[C net.Conn](ctx context.Context, limit int, accept func() (C, error), closer func() error, handle func(context.Context, C)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = closer() })
	defer stop()
	places := make(chan struct{}, limit)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			<-places
			// Too many open files, for one, passes.
			if !pause(ctx, acceptPause) {
				return nil
			}
			continue
		}
		wg.Go(func() {
			handle(ctx, conn)
			<-places
		})
	}
}
