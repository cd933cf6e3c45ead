package relay

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

func TestPlaceOf(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"192.0.2.1:5", "192.0.2.1/32"},
		{"[::ffff:192.0.2.1]:5", "192.0.2.1/32"},
		{"[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::/64"},
		{"[2001:db8:1:2::]:5", "2001:db8:1:2::/64"},
		{"[2001:db8:1:3::]:5", "2001:db8:1:3::/64"},
		{"[fe80::1%eth0]:5", "fe80::/64"},
	}
	for _, tt := range tests {
		if got := placeOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.addr))); got.String() != tt.want {
			t.Errorf("placeOf(%s) = %v, want %s", tt.addr, got, tt.want)
		}
	}
	if got := placeOf(&net.UnixAddr{Name: "x"}); got != (place{}) {
		t.Errorf("no IP address: %v", got)
	}
}

// What is refused is closed at once, and what leaves makes room.
func TestLimits(t *testing.T) {
	refused := func(t *testing.T, r *rig, why Reason) {
		t.Helper()
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before := time.Now()
		closed(t, conn)
		if d := time.Since(before); d > time.Second {
			t.Errorf("closed after %v", d)
		}
		r.count(t, why, 1)
	}
	leave := func(t *testing.T, r *rig, p *peer) {
		t.Helper()
		p.conn.Close()
		r.until(t, func() bool { return r.find(p.id.PubKey()) == nil }, "the session to end")
		r.connect(t, identity(t))
	}
	t.Run("address", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPerAddress = 2 })
		p := r.connect(t, identity(t))
		silent, err := net.Dial("tcp", r.addr) // counts as well
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		r.until(t, func() bool { return r.Snapshot().Handshakes == 1 }, "the handshake to begin")
		refused(t, r, RefusedAddress)
		leave(t, r, p)
	})
	t.Run("total", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxSessions = 1 })
		p := r.connect(t, identity(t))
		refused(t, r, RefusedTotal)
		leave(t, r, p)
	})
	t.Run("key", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPerKey = 2 })
		id := identity(t)
		r.connect(t, id)
		p := r.connect(t, id)
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := id.DialSession(context.Background(), conn, r.PubKey()); err == nil {
			closed(t, conn)
		}
		r.count(t, RefusedKey, 1)
		p.send(yamux.Header{Type: yamux.TypePing, Flags: syn}, nil) // the refusal has not touched it
		p.recv()
		if n := r.Snapshot().Handshakes; n != 0 {
			t.Errorf("%d handshakes, want none", n)
		}
	})
	t.Run("key, a minute later", func(t *testing.T) {
		g := newGate(&Config{MaxSessions: 100, MaxPerKey: 1})
		id, now := identity(t).PubKey(), time.Now()
		for _, step := range []struct {
			at   time.Duration
			want Reason
		}{{0, ReasonNone}, {time.Second, RefusedKey}, {time.Minute, ReasonNone}, {61 * time.Second, RefusedKey}} {
			if why := g.enter(place{}); why != ReasonNone {
				t.Fatal(why)
			}
			if got := g.proven(id, now.Add(step.at)); got != step.want {
				t.Errorf("after %v: %v, want %v", step.at, got, step.want)
			}
		}
		g.tidy(now.Add(3 * time.Minute))
		if len(g.keys) != 0 {
			t.Errorf("%d keys are remembered for ever", len(g.keys))
		}
	})
}

// The newest session of a key is the one that is reached, and stays reached when the
// end of the old one is noticed.
func TestNewestWins(t *testing.T) {
	r := newRig(t, nil)
	id := identity(t)
	first := r.connect(t, id)
	d := r.connect(t, identity(t))
	_, there := dial(d, first)
	second := r.connect(t, id)
	first.gone()
	r.count(t, EndedReplaced, 1)
	d.recv() // the reset of the stream
	if _, again := dial(d, second); again != there {
		t.Errorf("stream %d in the new session, want %d: it is a session of its own", again, there)
	}
	second.conn.Close()
	r.until(t, func() bool { return r.find(id.PubKey()) == nil }, "the key to go")
}

func TestStreamLimits(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxStreams = 3 })
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, _ := dial(d, l)
	dial(d, l)
	dial(d, l)
	refuse := func(p *peer) {
		t.Helper()
		p.send(yamux.Header{Type: update, Flags: syn, StreamID: 101}, nil)
		p.want(yamux.Header{Type: update, Flags: rst, StreamID: 101})
		p.send(yamux.Header{Type: data, StreamID: 101}, p.seal(p.request(l.id.PubKey()))) // was on its way
	}
	refuse(d)
	// The listener is full as well, for everybody.
	other := r.connect(t, identity(t))
	id, hash := other.open(l.id.PubKey())
	h, body := other.recv()
	if h.StreamID != id || h.Flags != yamux.FlagACK|fin {
		t.Fatalf("got %+v", h)
	}
	if _, err := other.hop.Open(body[2:]); err != nil {
		t.Errorf("%x: %v", hash, err)
	}
	d.send(yamux.Header{Type: update, Flags: rst, StreamID: at}, nil)
	l.recv()
	dial(d, l)
}

func TestProxied(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.MaxPerAddress = 1
	})
	connect := func(header string) *peer {
		t.Helper()
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, header); err != nil {
			t.Fatal(err)
		}
		before := r.stats.admits.Load()
		id := identity(t)
		hop, err := id.DialSession(context.Background(), conn, r.PubKey())
		if err != nil {
			return nil
		}
		r.until(t, func() bool { return r.stats.admits.Load() > before }, "admission")
		return &peer{t: t, id: id, conn: conn, hop: hop}
	}
	a := connect("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n")
	b := connect("PROXY TCP4 192.0.2.2 198.51.100.1 1 2\r\n")
	if a == nil || b == nil {
		t.Fatal("no session through the proxy")
	}
	if got := r.find(a.id.PubKey()).place.String(); got != "192.0.2.1/32" {
		t.Errorf("place %s", got)
	}
	if connect("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n") != nil {
		t.Error("the limit per address is the proxy's, not the client's")
	}
	if connect("") != nil {
		t.Error("a session without a PROXY header")
	}
	r.count(t, RefusedProxy, 1)
}

func TestConfigValidate(t *testing.T) {
	var c Config
	err := c.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 4 {
		t.Errorf("the zero Config: %v", err)
	}
	if _, err := New(c); err == nil {
		t.Error("New took it")
	}
}
