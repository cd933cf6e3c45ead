package ctl

import (
	"context"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsgctrl"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// dmsgPings is what dmsg ping prints as JSON.
type dmsgPings struct {
	pings
	DialUS int64          `json:"dial_us"` // how long the first stream took to set up
	Relay  *cipher.PubKey `json:"relay"`   // by which the last answer came
}

// A dmsgPinger asks a key's control port.
type dmsgPinger struct {
	n       *dmsgNet
	timeout time.Duration
	stream  *dmsg.Stream // nil: to be dialled
	s       dmsgPings
}

func (p *Program) dmsgPing(cmd *kingpin.CmdClause, f *dmsgFlags) {
	pf := addPingFlags(cmd, "wait", "How long to wait for each answer.", "5s")
	pk := keyOf(cmd.Arg("pk", "The key.").Required())
	p.do(cmd, func(ctx context.Context) error {
		n, err := p.network(f)
		if err != nil {
			return err
		}
		defer n.close()
		d := dmsgPinger{n: n, timeout: pf.wait, s: dmsgPings{pings: pings{PK: *pk, RTTs: []int64{}, Errors: []string{}}}}
		defer d.hangUp()
		var last error
		for pf.next(ctx, d.s.Sent) {
			d.s.Sent++
			if last = d.once(ctx); ctx.Err() != nil {
				d.s.Sent-- // interrupted, not lost
				break
			}
			d.report(last)
		}
		err = p.print(d.s, func() { p.printPings(&d.s.pings) })
		if d.s.Answered == 0 && last != nil {
			return last
		}
		return err
	})
}

// once asks once, on a new stream where there is none.
func (d *dmsgPinger) once(ctx context.Context) error {
	if d.stream == nil {
		begin := time.Now()
		st, err := d.n.dial(ctx, proto.Addr{PK: d.s.PK, Port: dmsgctrl.Port})
		if err != nil {
			return err
		}
		d.stream = st
		if d.s.DialUS == 0 {
			d.s.DialUS = time.Since(begin).Microseconds()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	rtt, err := dmsgctrl.Ping(ctx, d.stream)
	if err != nil {
		d.hangUp()
		if ctx.Err() != nil {
			return api.ErrTimeout.With("no answer within %v", d.timeout)
		}
		return api.ErrUnreachable.With("%s", bare(err))
	}
	relay := d.stream.Relay()
	d.s.Relay = &relay
	d.s.add(max(rtt.Microseconds(), 1))
	return nil
}

// report tells of the latest ping.
func (d *dmsgPinger) report(err error) {
	p, s := d.n.p, &d.s
	if err != nil {
		s.Errors = append(s.Errors, err.Error())
	}
	switch {
	case p.json:
	case err != nil:
		p.say("%d  %v", s.Sent, err)
	default:
		p.say("%d  answer from %s by way of relay %s in %s", s.Sent, s.PK.Short(), s.Relay.Short(), millis(s.RTTs[len(s.RTTs)-1]))
	}
}

// hangUp closes the stream, if there is one.
func (d *dmsgPinger) hangUp() {
	if d.stream != nil {
		d.stream.Close()
		d.stream = nil
	}
}
