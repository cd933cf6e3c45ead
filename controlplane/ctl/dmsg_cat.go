package ctl

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

func (p *Program) dmsgCat(cmd *kingpin.CmdClause, f *dmsgFlags) {
	var port uint16
	cmd.Flag("listen", "Wait for a stream to this port of the own key.").Short('l').PlaceHolder("PORT").SetValue(portValue{&port})
	who := accessFlags(cmd)
	to, given := addrOf(cmd.Arg("addr", "The key and port to connect to, PK:PORT."), 0)
	cmd.Validate(func(*kingpin.CmdClause) error {
		if (port != 0) == *given {
			return api.ErrBadRequest.With("want either PK:PORT to connect to, or --listen PORT")
		}
		return who.check(port != 0)
	})
	p.do(cmd, func(ctx context.Context) error {
		n, err := p.network(f)
		if err != nil {
			return err
		}
		defer n.close()
		var st *dmsg.Stream
		if port != 0 {
			st, err = n.await(ctx, port, who)
		} else {
			st, err = n.dial(ctx, *to)
		}
		if err != nil {
			return err
		}
		defer st.Close()
		return p.cat(ctx, st)
	})
}

// await returns the first stream to a port of the own key whose dialler may come in.
func (n *dmsgNet) await(ctx context.Context, port uint16, who *access) (*dmsg.Stream, error) {
	lis, err := n.listen(ctx, port)
	if err != nil {
		return nil, err
	}
	defer lis.Close()
	self := proto.Addr{PK: n.client.PubKey(), Port: port}.String()
	n.p.notice(note{Event: "listening", Peer: self, Text: "listening at " + self})
	stop := context.AfterFunc(ctx, func() { lis.Close() })
	defer stop()
	d := door{p: n.p, lis: lis, access: who, limit: 1}
	st, err := d.accept()
	if err != nil {
		return nil, errInterrupted("before anybody connected")
	}
	n.p.notice(note{Event: "connected", Peer: st.Peer().String(), Text: "connected from " + st.Peer().String()})
	return st, nil
}

// cat joins st and the program's input and output. It ends when both halves of st have
// ended; the input's half is not waited for where somebody types, who could not know.
func (p *Program) cat(ctx context.Context, st *dmsg.Stream) error {
	stop := context.AfterFunc(ctx, st.Reset)
	defer stop()
	var sent, received atomic.Uint64
	up := make(chan error, 1)
	// Nothing interrupts a read of a terminal: this goroutine may outlive the command,
	// which the process does not.
	go func() {
		err := copyCounted(st, p.in, &sent)
		if err == nil {
			err = closeWrite(st)
		}
		up <- err
	}()
	down := copyCounted(p.out, st, &received)
	var upErr error
	if down == nil && !isTerminal(p.in) {
		select {
		case upErr = <-up:
		case <-ctx.Done():
		}
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted("after " + size(sent.Load()) + " out and " + size(received.Load()) + " in")
	case errors.Is(down, io.ErrUnexpectedEOF):
		return api.ErrUnreachable.With("the stream broke off inside a frame, after %s in", size(received.Load()))
	case down != nil:
		return api.ErrUnreachable.With("the stream broke: %s", bare(down))
	case upErr != nil:
		return api.ErrUnreachable.With("the peer took %s and then no more: %s", size(sent.Load()), bare(upErr))
	}
	return nil
}
