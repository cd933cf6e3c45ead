package ctl

import (
	"context"
	"errors"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// pings is what ping prints as JSON.
type pings struct {
	PK       cipher.PubKey `json:"pk"`
	Sent     int           `json:"sent"`
	Answered int           `json:"answered"`
	RTTs     []int64       `json:"rtts_us"`
	MinUS    int64         `json:"min_us"`
	AvgUS    int64         `json:"avg_us"`
	MaxUS    int64         `json:"max_us"`
	Errors   []string      `json:"errors"`
}

// add notes an answer.
func (s *pings) add(rtt int64) {
	s.RTTs = append(s.RTTs, rtt)
	s.Answered++
	if s.Answered == 1 || rtt < s.MinUS {
		s.MinUS = rtt
	}
	s.MaxUS = max(s.MaxUS, rtt)
	s.AvgUS += (rtt - s.AvgUS) / int64(s.Answered)
}

// pingFlags are the flags of both kinds of pings.
type pingFlags struct {
	count    int
	interval time.Duration
	wait     time.Duration // for each answer
}

// addPingFlags adds them to cmd. The one that says how long to wait has the given name,
// help and default.
func addPingFlags(cmd *kingpin.CmdClause, wait, help, waitDefault string) *pingFlags {
	var f pingFlags
	cmd.Flag("count", "How many; 0 is until interrupted.").Short('c').Default("4").IntVar(&f.count)
	cmd.Flag("interval", "From one to the next.").Short('i').Default("1s").DurationVar(&f.interval)
	cmd.Flag(wait, help).Short('W').Default(waitDefault).DurationVar(&f.wait)
	cmd.Validate(func(*kingpin.CmdClause) error {
		switch {
		case f.count < 0:
			return api.ErrBadRequest.With("--count is %d; want 0 or more", f.count)
		case f.interval < 0:
			return api.ErrBadRequest.With("--interval is %v; want 0s or more", f.interval)
		case f.wait <= 0:
			return api.ErrBadRequest.With("--%s is %v; want more than 0s", wait, f.wait)
		}
		return nil
	})
	return &f
}

// next says whether there is to be another one after those sent, and waits until it is
// time for it.
func (f *pingFlags) next(ctx context.Context, sent int) bool {
	return (f.count == 0 || sent < f.count) && (sent == 0 || pause(ctx, f.interval))
}

func (p *Program) ping() {
	cmd := p.app.Command("ping", "Measure round trips to a visor over the overlay. Ends with 1 if none was answered.")
	f := addPingFlags(cmd, "timeout", "How long to wait for each answer; why a route does not work is known after 8s.", "10s")
	pk := keyOf(cmd.Arg("pk", "The visor's public key.").Required())
	p.call(cmd, func(ctx context.Context, visor *api.Client) error {
		s := pings{PK: *pk, RTTs: []int64{}, Errors: []string{}}
		var last error
		for f.next(ctx, s.Sent) {
			s.Sent++
			if last = p.pingOnce(ctx, visor, &s, f.wait); errors.Is(last, api.ErrNoVisor) || errors.Is(last, api.ErrDenied) {
				return last
			}
		}
		err := p.print(s, func() { p.printPings(&s) })
		if s.Answered == 0 && last != nil {
			return last
		}
		return err
	})
}

// pause waits for d and says whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (p *Program) pingOnce(ctx context.Context, visor *api.Client, s *pings, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pong, err := visor.Ping(ctx, s.PK)
	if err != nil {
		s.Errors = append(s.Errors, err.Error())
		if !p.json {
			p.say("%d  %v", s.Sent, err)
		}
		return err
	}
	s.add(pong.RTTMicros)
	if !p.json {
		p.say("%d  answer from %s in %s", s.Sent, s.PK.Short(), millis(pong.RTTMicros))
	}
	return nil
}

func (p *Program) printPings(s *pings) {
	if s.Answered == 0 {
		p.say("%d sent, none answered", s.Sent)
		return
	}
	p.say("%d sent, %d answered; round trip min %s, average %s, max %s", s.Sent, s.Answered, millis(s.MinUS), millis(s.AvgUS), millis(s.MaxUS))
}
