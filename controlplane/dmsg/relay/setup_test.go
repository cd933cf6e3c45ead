package relay

import (
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// What requests and responses take from one stream's credit is what they take from
// the other's, and what is granted meanwhile is not lost: to the byte.
func TestSetupCredit(t *testing.T) {
	const early = 1000 // granted by the listener before its response
	for _, listens := range []bool{false, true} {
		r := newRig(t, nil)
		d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
		signed := d.request(l.id.PubKey())
		request := d.seal(signed)
		d.send(yamux.Header{Type: update, Flags: syn, StreamID: 1}, nil)
		d.send(yamux.Header{Type: data, StreamID: 1}, request)
		l.want(yamux.Header{Type: update, Flags: syn, StreamID: 2})
		if h, _ := l.recv(); h.Length != uint32(len(request)) {
			t.Errorf("a request of %d bytes came as one of %d", len(request), h.Length)
		}
		l.send(yamux.Header{Type: update, StreamID: 2, Length: early}, nil)
		response := l.response(signed.Hash(), true)
		l.send(yamux.Header{Type: data, StreamID: 2}, response)
		d.want(yamux.Header{Type: update, Flags: yamux.FlagACK, StreamID: 1, Length: early})
		if h, _ := d.recv(); h.Length != uint32(len(response)) {
			t.Errorf("a response of %d bytes came as one of %d", len(response), h.Length)
		}

		from, to, id, there, credit := d, l, uint32(1), uint32(2), yamux.InitialWindow-len(request)+early
		if listens {
			from, to, id, there, credit = l, d, 2, 1, yamux.InitialWindow-len(response)
		}
		from.send(yamux.Header{Type: data, StreamID: id}, make([]byte, credit))
		to.data(there, credit)
		if r.stats.reasons[ViolationWindow].Load() != 0 {
			t.Errorf("all credit was too much (listener: %v)", listens)
		}
		from.send(yamux.Header{Type: data, StreamID: id}, []byte{0})
		r.count(t, ViolationWindow, 1)
	}
}

// A set-up that ends while its listener's stream is made must not take the listener's
// lock with its own held: the listener's reader takes them the other way round.
func TestJoinTooLate(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	from, to := r.find(d.id.PubKey()), r.find(l.id.PubKey())
	c := &circuit{setup: &setup{}}
	c.ends[dialer].session, c.ends[dialer].id = from, 1
	signed := d.request(l.id.PubKey())

	c.mu.Lock()
	joined := make(chan error, 1)
	go func() { joined <- c.join(to, signed, signed.Hash(), d.seal(signed)) }()
	r.until(t, func() bool { return to.streams() == 1 }, "the listener's stream")
	to.mu.Lock() // as its reader, which is about to look at c
	c.stage.Store(ended)
	c.setup = nil
	c.mu.Unlock()
	free := 0
	r.until(t, func() bool { // join, which is waiting for the lock, gets it and gives it back
		if c.mu.TryLock() {
			c.mu.Unlock()
			free++
		}
		return free == 50
	}, "the circuit's lock")
	to.mu.Unlock()
	if err := <-joined; err != nil {
		t.Error(err)
	}
	if n := to.streams(); n != 0 {
		t.Errorf("%d streams left behind", n)
	}
}
