package relay

import (
	"net"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// Clients are told to go before the socket closes; their streams go on meanwhile.
func TestDrain(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DrainTimeout = patience })
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, there := dial(d, l)
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	goAway := yamux.Header{Type: yamux.TypeGoAway}
	d.want(goAway)
	l.want(goAway)
	if conn, err := net.Dial("tcp", r.addr); err == nil {
		closed(t, conn)
		conn.Close()
	}
	d.send(yamux.Header{Type: update, Flags: syn, StreamID: 55}, nil)
	d.want(yamux.Header{Type: update, Flags: rst, StreamID: 55})
	d.send(yamux.Header{Type: data, StreamID: at}, []byte("the rest"))
	if got := l.data(there, 8); string(got) != "the rest" {
		t.Errorf("got %q", got)
	}
	select {
	case <-stopped:
		t.Fatal("did not wait for the clients")
	default:
	}
	d.conn.Close()
	l.conn.Close()
	select {
	case <-stopped:
	case <-time.After(patience / 2):
		t.Error("waits though all clients have moved")
	}
}

// A client that stays is closed when its time is over; one without streams earlier.
func TestDrainTimeout(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DrainTimeout = 100 * time.Millisecond })
	p := r.connect(t, identity(t))
	go r.stop()
	p.gone()
	r.count(t, EndedByShutdown, 1)
}
