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

// maxServed bounds the connections that a command serves at once.
const maxServed = 1024

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

// A door lets streams in whose keys may, and notes who may not: at most one note in a
// second, for anybody can knock.
type door struct {
	p      *Program
	lis    *dmsg.Listener
	access *access
	quiet  time.Time // until when refusals are not noted
}

// accept returns the next stream that may come in.
func (d *door) accept() (*dmsg.Stream, error) {
	for {
		st, err := d.lis.AcceptStream()
		if err != nil || d.access.permits(st) {
			return st, err
		}
		st.Reset()
		if now := time.Now(); now.After(d.quiet) {
			d.quiet = now.Add(time.Second)
			d.p.notice(note{Event: "refused", Peer: st.Peer().String(), Text: st.Peer().String() + " may not connect and was refused; --allow lets it in"})
		}
	}
}

// serveAll calls handle, in a goroutine each, for what accept returns, until ctx ends
// or accept fails; close makes it fail. It returns when all calls have.
func serveAll[C net.Conn](ctx context.Context, accept func() (C, error), closer func() error, handle func(context.Context, C)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = closer() })
	defer stop()
	places := make(chan struct{}, maxServed)
	for {
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
			// Too many open files, for one, passes.
			if !pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		select {
		case places <- struct{}{}:
			wg.Go(func() {
				handle(ctx, conn)
				<-places
			})
		default:
			_ = conn.Close()
		}
	}
}
