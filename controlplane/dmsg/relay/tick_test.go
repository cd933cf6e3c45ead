package relay

import (
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// A silent session is pinged after 30 s and closed 20 s later; any frame counts as a
// sign of life. The turns are made by hand here, ten seconds apart in effect.
func TestKeepAlive(t *testing.T) {
	r := newRig(t, nil)
	p := r.connect(t, identity(t))
	s := r.find(p.id.PubKey())
	quiet := func(turns int) {
		t.Helper()
		for range turns {
			if why := s.sign(); why != ReasonNone {
				t.Fatalf("ended: %v", why)
			}
		}
	}
	quiet(pingAfter)
	if h, _ := p.recv(); h.Type != yamux.TypePing || h.Flags != syn {
		t.Fatalf("got %+v, want a ping", h)
	}
	quiet(1)
	before := s.batches.Load()
	p.send(yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagACK}, nil)
	r.until(t, func() bool { return s.batches.Load() > before }, "the answer")
	quiet(1 + closeAfter - 1)
	if why := s.sign(); why != EndedSilent {
		t.Errorf("after %d silent turns: %v, want %v", closeAfter, why, EndedSilent)
	}
}

// The ticker finds late set-ups and dead sessions.
func TestTurn(t *testing.T) {
	r := newRig(t, nil)
	p, q := r.connect(t, identity(t)), r.connect(t, identity(t))
	id, _ := p.open(q.id.PubKey())
	there, _ := q.accept()
	s := r.find(p.id.PubKey())
	s.expire(time.Now().Add(responseTimeout - time.Second))
	if s.streams() != 1 {
		t.Fatal("expired early")
	}
	s.expire(time.Now().Add(responseTimeout + time.Second))
	p.want(yamux.Header{Type: update, Flags: rst, StreamID: id})
	q.want(yamux.Header{Type: update, Flags: rst, StreamID: there})
	r.count(t, ResetTimeout, 1)
}
