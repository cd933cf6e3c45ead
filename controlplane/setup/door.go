package setup

import (
	"net"
	"sync"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Streams that a visor or node has open with others: each takes memory until it is
// closed, and anybody can open some.
const (
	// At a visor, one setup node and all of them; strangers, who are told only that they
	// are, one and all.
	maxNodeStreams, maxNodesStreams         = 512, 4096
	maxStrangerStreams, maxStrangersStreams = 2, 16
	// At a node, one source and all of them.
	maxSourceStreams, maxSourcesStreams = 256, 8192
)

// A crowd is how many streams those of one kind have, each and together.
type crowd struct {
	each, all int

	n    int
	keys map[cipher.PubKey]int
}

func newCrowd(each, all int) *crowd {
	return &crowd{each: each, all: all, keys: map[cipher.PubKey]int{}}
}

// A door is a listener that closes streams for which there is no room.
type door struct {
	net.Listener
	crowdOf func(pk cipher.PubKey) *crowd

	mu sync.Mutex // of all crowds
}

// Accept returns the next stream for which there is room.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		// Who comes from no dmsg network has the zero key, and is refused when it asks.
		from, _ := proto.ParseAddr(conn.RemoteAddr().String(), 0)
		if leave, ok := d.enter(from.PK); ok {
			return &guest{conn, leave}, nil
		}
		_ = conn.Close()
	}
}

// enter counts a stream of pk until leave is called, if there is room for it.
func (d *door) enter(pk cipher.PubKey) (leave func(), ok bool) {
	c := d.crowdOf(pk)
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.n >= c.all || c.keys[pk] >= c.each {
		return nil, false
	}
	c.n++
	c.keys[pk]++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		c.n--
		if c.keys[pk]--; c.keys[pk] == 0 {
			delete(c.keys, pk)
		}
	}), true
}

// A guest is a stream that counts.
type guest struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}

// door returns ln for a hop: strangers do not take the room of setup nodes.
func (h *Hop) door(ln net.Listener) net.Listener {
	nodes, strangers := newCrowd(maxNodeStreams, maxNodesStreams), newCrowd(maxStrangerStreams, maxStrangersStreams)
	return &door{Listener: ln, crowdOf: func(pk cipher.PubKey) *crowd {
		if (*h.trusted.Load())[pk] {
			return nodes
		}
		return strangers
	}}
}

// door returns ln for a node.
func (n *Node) door(ln net.Listener) net.Listener {
	sources := newCrowd(maxSourceStreams, maxSourcesStreams)
	return &door{Listener: ln, crowdOf: func(cipher.PubKey) *crowd { return sources }}
}
