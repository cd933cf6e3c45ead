package link

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/packet"
)

// TestRoaming changes the address under which the client is seen, in mid-transfer.
func TestRoaming(t *testing.T) {
	t.Parallel()
	ca, cb := newAuditor(), newAuditor()
	an, bn := startNode(t, ca, ca.sink, nil), startNode(t, cb, cb.sink, nil)
	p, ab, ba := through(t, an, bn)
	load(t, ab, 0, 10, 512, time.Millisecond)
	load(t, ba, 0, 10, 512, time.Millisecond)
	for range 3 {
		ca.progress(t, 200)
		cb.progress(t, 200)
		old := p.rebind()
		_ = old.Close() // what is sent there is lost
		until(t, 5*time.Second, "the link has moved and is trusted there", func() bool {
			st := ba.send.Load()
			return st != nil && st.addr == p.outside() && st.path == nil
		})
	}
	ca.progress(t, 200)
	cb.progress(t, 200)
	if ca.bad.Load()+cb.bad.Load() != 0 {
		t.Error("damaged packets arrived")
	}
	if got := ba.Info().Addr; got != p.outside().String() {
		t.Errorf("Info says %s, want %s", got, p.outside())
	}
}

// TestRoamingIsLimited moves the client to an address that swallows everything. What
// is sent there stays within three times what came from there, and in the end the
// peer is sought at its old address again.
func TestRoamingIsLimited(t *testing.T) {
	t.Parallel()
	ca, cb := newAuditor(), newAuditor()
	an, bn := startNode(t, ca, ca.sink, nil), startNode(t, cb, cb.sink, nil)
	p, ab, ba := through(t, an, bn)
	home := p.outside()
	load(t, ba, 0, 10, 512, time.Millisecond)

	// The next frame of the client comes from elsewhere, and then nothing more comes.
	away, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(bn.UDPAddr().Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = away.Close() }()
	_ = away.SetReadBuffer(4 << 20)
	var arrived atomic.Int64 // from there at the server
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if !toServer {
			return [][]byte{pkt}
		}
		if _, _, ok := packet.ParseDataHeader(pkt); ok && arrived.CompareAndSwap(0, int64(len(pkt))) {
			if _, err := away.WriteToUDPAddrPort(pkt, bn.UDPAddr()); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	send(t, ab, 9, 1, 512)
	until(t, 5*time.Second, "the link has moved", func() bool {
		st := ba.send.Load()
		return st.addr.Port() == away.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	})
	if ba.MTU() != packet.MinMTU {
		t.Errorf("MTU on the unknown path is %d, want %d", ba.MTU(), packet.MinMTU)
	}
	until(t, 6*time.Second, "the peer is sought at home again", func() bool { return ba.send.Load().addr == home })
	got, buf := 0, make([]byte, 1<<16)
	_ = away.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		n, _, err := away.ReadFromUDPAddrPort(buf)
		if err != nil {
			break
		}
		got += n
	}
	if got == 0 || got > pathAmplification*int(arrived.Load()) {
		t.Errorf("%d bytes were sent where %d had come from", got, arrived.Load())
	}
	p.setMangle(pass)
	ca.progress(t, 200) // the transfer goes on at home
}

// TestSpoofedAddress shows frames to the server that come from a stranger's address:
// old ones, damaged ones and made up ones. The link stays where it is.
func TestSpoofedAddress(t *testing.T) {
	t.Parallel()
	cb := newAuditor()
	an, bn := newNode(t, nil), startNode(t, cb, cb.sink, nil)
	p, ab, ba := through(t, an, bn)
	home := p.outside()
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(bn.UDPAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	var last []byte
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if !toServer || packet.FrameType(pkt[0]) != packet.FrameData {
			return [][]byte{pkt}
		}
		bad := append([]byte(nil), pkt...)
		bad[8]++ // a counter far ahead, and so a wrong tag
		_, _ = stranger.Write(bad)
		if last != nil {
			_, _ = stranger.Write(last) // a replay: its original has gone first
		}
		last = append(last[:0], pkt...)
		return [][]byte{pkt}
	})
	load(t, ab, 0, 5, 256, time.Millisecond)
	for range 50 {
		cb.progress(t, 20)
		if st := ba.send.Load(); st.addr != home {
			t.Fatalf("the link moved to %v", st.addr)
		}
	}
	hearsNothing(t, stranger)
	if d := bn.Drops(); d["auth"] == 0 || d["replay"] == 0 {
		t.Errorf("drops %v, want some of auth and replay", d)
	}
}

// TestOldFrameDoesNotMove delivers an authentic frame late and from elsewhere.
func TestOldFrameDoesNotMove(t *testing.T) {
	t.Parallel()
	cb := newAuditor()
	an, bn := newNode(t, nil), startNode(t, cb, cb.sink, nil)
	p, ab, ba := through(t, an, bn)
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(bn.UDPAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	var held atomic.Pointer[[]byte]
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if toServer && packet.FrameType(pkt[0]) == packet.FrameData && held.CompareAndSwap(nil, &pkt) {
			return nil
		}
		return [][]byte{pkt}
	})
	ld := load(t, ab, 0, 5, 256, time.Millisecond)
	cb.progress(t, 100)
	ld.stop()
	until(t, 5*time.Second, "all but one have arrived", func() bool { return cb.good.Load() >= ld.sent.Load()-1 })
	p.setMangle(func(toServer bool, pkt []byte) [][]byte {
		if toServer {
			return nil // so that nothing moves the link back
		}
		return [][]byte{pkt}
	})
	rx := ba.rxPackets.Load()
	if _, err := stranger.Write(*held.Load()); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "the old frame arrives", func() bool { return ba.rxPackets.Load() > rx })
	hearsNothing(t, stranger)
	if st := ba.send.Load(); st.addr != p.outside() {
		t.Errorf("the link moved to %v", st.addr)
	}
}

// hearsNothing fails if something was sent to c.
func hearsNothing(t *testing.T, c *net.UDPConn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1<<16)); err == nil {
		t.Errorf("%d bytes were sent to a stranger", n)
	}
}

func TestPathBudget(t *testing.T) {
	var p pathCheck
	p.budget.Store(100)
	for _, step := range []struct {
		n    int
		want bool
	}{{60, true}, {41, false}, {40, true}, {1, false}} {
		if got := p.allow(step.n); got != step.want {
			t.Errorf("allow(%d) = %v, want %v", step.n, got, step.want)
		}
	}
}
