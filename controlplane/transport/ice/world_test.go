package ice

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"

	"github.com/pion/stun"
)

// A world is an Internet in memory: hosts, some behind NATs, and STUN servers. Delivery
// is by a goroutine per datagram, so that nobody sends from inside Handle.
type world struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	hosts map[netip.AddrPort]*node // by public address
	stuns map[netip.AddrPort]bool
	ended bool
}

// A node is a visor's socket.
type node struct {
	w     *world
	hub   *Hub
	local netip.AddrPort
	nat   *nat // nil: local is public
}

// A nat maps one socket.
type nat struct {
	ip        netip.Addr
	symmetric bool // a port for each destination
	open      bool // lets everybody in
	ports     map[netip.AddrPort]uint16
	next      uint16
	may       map[[2]netip.AddrPort]bool // mapped address, from where
}

func newWorld(t *testing.T) *world {
	w := &world{hosts: map[netip.AddrPort]*node{}, stuns: map[netip.AddrPort]bool{}}
	t.Cleanup(func() {
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

func (w *world) join(local string, n *nat) *node {
	h := &node{w: w, local: netip.MustParseAddrPort(local), nat: n}
	h.hub = NewHub(h)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n == nil {
		w.hosts[h.local] = h
	} else {
		n.ports, n.may, n.next = map[netip.AddrPort]uint16{}, map[[2]netip.AddrPort]bool{}, 20000
	}
	return h
}

// WriteSTUN implements Socket.
func (n *node) WriteSTUN(b []byte, to netip.AddrPort) error {
	w := n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	from := n.local
	if n.nat != nil {
		key := netip.AddrPort{}
		if n.nat.symmetric {
			key = to
		}
		port, ok := n.nat.ports[key]
		if !ok {
			n.nat.next++
			port = n.nat.next
			n.nat.ports[key] = port
		}
		from = netip.AddrPortFrom(n.nat.ip, port)
		n.nat.may[[2]netip.AddrPort{from, to}] = true
		w.hosts[from] = n
	}
	w.deliver(append([]byte(nil), b...), from, to)
	return nil
}

// deliver carries a datagram. mu is held.
func (w *world) deliver(b []byte, from, to netip.AddrPort) {
	if w.ended {
		return
	}
	if w.stuns[to] {
		m := &stun.Message{Raw: append([]byte(nil), b...)}
		if m.Decode() != nil {
			return
		}
		out := stun.MustBuild(m, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())})
		w.deliver(out.Raw, to, from)
		return
	}
	h := w.hosts[to]
	if h == nil || h.nat != nil && !h.nat.open && !h.nat.may[[2]netip.AddrPort{to, from}] {
		return
	}
	w.wg.Go(func() { h.hub.Handle(b, from) })
}

func (w *world) stun(at ...string) (names []string) {
	for _, a := range at {
		w.stuns[netip.MustParseAddrPort(a)] = true
	}
	return at
}

func TestLocalUfrag(t *testing.T) {
	attr := func(typ uint16, val string) []byte {
		b := append([]byte(nil), bindingRequest()...)
		b = binary.BigEndian.AppendUint16(b, typ)
		b = binary.BigEndian.AppendUint16(b, uint16(len(val)))
		b = append(b, val...)
		return append(b, "\x00\x00\x00"[:(4-len(val)%4)%4]...)
	}
	both := append(attr(0x8022, "software"), attr(attrUser, "mine:theirs")[headerLen:]...)
	long := attr(attrUser, "mine:theirs")
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"alone", attr(attrUser, "mine:theirs"), "mine"},
		{"behind another", both, "mine"},
		{"no colon", attr(attrUser, "mine"), ""},
		{"none", make([]byte, headerLen), ""},
		{"cut short", long[:len(long)-3], ""},
	} {
		if got, _ := localUfrag(tt.b); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
