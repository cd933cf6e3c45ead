package visor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/session"
)

// pingPort is the overlay's UDP port on which every visor answers pings.
const pingPort = 48

// A ping is a kind and a token, and the answer the same with another kind: so two
// visors cannot be made to answer each other's answers for ever.
const (
	pingAsk    = 1
	pingAnswer = 2
	pingLen    = 17
)

// pingAgain is when a ping that got no answer is sent once more. It counts from
// there: a lost datagram is no slow one.
const pingAgain = time.Second

// answerPings serves pingPort until ctx ends.
func (v *Visor) answerPings(ctx context.Context) error {
	port, err := v.plane.ListenPacket(pingPort)
	if err != nil {
		return fmt.Errorf("visor: pings: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = port.Close() })()
	b := make([]byte, pingLen+1)
	for {
		n, from, err := port.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("visor: pings: %w", err)
		case err != nil || n != pingLen || b[0] != pingAsk:
			continue
		}
		b[0] = pingAnswer
		_, _ = port.WriteTo(b[:n], from) // lost is lost
	}
}

// Ping implements api.Visor: one datagram to the other visor and back.
func (v *Visor) Ping(ctx context.Context, pk cipher.PubKey) (api.Pong, error) {
	pong, err := v.ping(ctx, pk)
	if !errors.Is(err, context.DeadlineExceeded) {
		return pong, err
	}
	if down := v.missing(pk); down != nil {
		return pong, api.ErrTimeout.With("no answer from %s: its route waits for a link to %s", pk, down)
	}
	if why := v.plane.Trouble(pk); why != "" {
		return pong, api.ErrTimeout.With("no answer from %s: %s", pk, why)
	}
	return pong, err
}

// missing returns a neighbour to whom a route to pk waits for a link, if each of
// the routes does so.
func (v *Visor) missing(pk cipher.PubKey) *cipher.PubKey {
	var down *cipher.PubKey
	for _, r := range v.plane.Routes() {
		if r.Peer == nil || *r.Peer != pk {
			continue
		}
		if len(r.Waiting) == 0 {
			return nil
		}
		down = &r.Waiting[0]
	}
	return down
}

func (v *Visor) ping(ctx context.Context, pk cipher.PubKey) (api.Pong, error) {
	class, err := v.reach(ctx, pk, api.RoutePolicy{})
	if err != nil {
		return api.Pong{}, unreachable(err)
	}
	conn, err := v.plane.DialPacketClass(ctx, pk, class, pingPort)
	if err != nil {
		return api.Pong{}, unreachable(err)
	}
	defer conn.Close() // nothing is lost with it
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	ask := make([]byte, pingLen)
	answer := make([]byte, pingLen+1)
	for {
		ask[0] = pingAsk
		_, _ = rand.Read(ask[1:]) // never fails
		start := time.Now()
		if _, err := conn.Write(ask); err != nil {
			if why := v.plane.Trouble(pk); why != "" { // it was there when we dialled
				return api.Pong{}, api.ErrUnreachable.With("%s cannot be reached: %s", pk, why)
			}
			return api.Pong{}, unreachable(err)
		}
		ask[0] = pingAnswer
		if err := conn.SetReadDeadline(start.Add(pingAgain)); err != nil {
			return api.Pong{}, unreachable(err)
		}
		if ctx.Err() != nil { // it may have ended before the deadline was set
			return api.Pong{}, ctx.Err()
		}
		for {
			n, err := conn.Read(answer)
			if err == nil && bytes.Equal(answer[:n], ask) {
				return api.Pong{RTTMicros: max(1, time.Since(start).Microseconds())}, nil
			}
			if ctx.Err() != nil {
				return api.Pong{}, ctx.Err()
			}
			if isTimeout(err) {
				break
			}
			if err != nil {
				return api.Pong{}, unreachable(err)
			}
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// unreachable says that the overlay could not do it, unless the time was up.
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var path *session.PathError
	if errors.As(err, &path) {
		err = path // what wraps it names the ping's port, which nobody has asked for
	}
	return api.ErrUnreachable.With("%v", err)
}
