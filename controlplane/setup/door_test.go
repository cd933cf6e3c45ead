package setup

import (
	"net"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A queue is a listener of streams that are there.
type queue struct {
	net.Listener
	conns chan net.Conn
}

func (q queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

// A stream comes from a key.
type stream struct {
	net.Conn
	from   proto.Addr
	closed *int
}

func (s stream) RemoteAddr() net.Addr { return s.from }
func (s stream) Close() error         { *s.closed++; return nil }

// TestDoor: a peer that opens streams and says nothing has few of them, and strangers
// leave the setup nodes' room alone.
func TestDoor(t *testing.T) {
	var keys []cipher.PubKey
	key := func(n int) cipher.PubKey {
		for len(keys) <= n {
			pk, _ := cipher.GenerateKeyPair()
			keys = append(keys, pk)
		}
		return keys[n]
	}
	trusted := key(1)
	h, n := &Hop{}, &Node{}
	h.SetNodes([]cipher.PubKey{trusted})
	for _, tt := range []struct {
		name    string
		door    func(net.Listener) net.Listener
		from    func(i int) cipher.PubKey
		streams int
		want    int
	}{
		{"a stranger at a visor", h.door, func(int) cipher.PubKey { return key(2) }, 100, maxStrangerStreams},
		{"strangers at a visor", h.door, func(i int) cipher.PubKey { return key(2 + i) }, 100, maxStrangersStreams},
		{"a setup node at a visor", h.door, func(int) cipher.PubKey { return trusted }, 600, maxNodeStreams},
		{"a source at a node", n.door, func(int) cipher.PubKey { return key(2) }, 300, maxSourceStreams},
		{"sources at a node", n.door, func(i int) cipher.PubKey { return key(2 + i) }, 10_000, maxSourcesStreams},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, closed := queue{conns: make(chan net.Conn, tt.streams)}, 0
			fill := func() {
				for i := range tt.streams {
					q.conns <- stream{from: proto.Addr{PK: tt.from(i), Port: 9}, closed: &closed}
				}
			}
			d := tt.door(q)
			var open []net.Conn
			take := func() {
				for {
					c, err := d.Accept()
					if err != nil {
						return
					}
					open = append(open, c)
				}
			}
			fill()
			if take(); len(open) != tt.want || closed != tt.streams-tt.want {
				t.Fatalf("%d streams are open and %d closed; want %d open", len(open), closed, tt.want)
			}
			q.conns <- stream{from: proto.Addr{PK: trusted, Port: 9}, closed: &closed}
			if _, err := d.Accept(); (err == nil) != (tt.want < maxNodeStreams) {
				t.Errorf("a setup node, or another source: %v", err)
			}
			for _, c := range open {
				_ = c.Close()
				_ = c.Close() // as servers do
			}
			open = nil
			fill()
			if take(); len(open) != tt.want && len(open) != tt.want-1 {
				t.Errorf("%d streams once the others are closed, want %d", len(open), tt.want)
			}
		})
	}
}
