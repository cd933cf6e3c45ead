package netstack

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// addClass joins the stacks of p by two more wires, over which a class travels.
func (p *pair) addClass(tb testing.TB, class uint32) (ab, ba *wire) {
	tb.Helper()
	ab, ba = newWire(fault{}), newWire(fault{})
	toB := &fakePeer{pk: p.b.cfg.PubKey, class: class, out: ab}
	toA := &fakePeer{pk: p.a.cfg.PubKey, class: class, out: ba}
	p.a.cfg.Network.(*fakeNetwork).add(toB)
	p.b.cfg.Network.(*fakeNetwork).add(toA)
	ab.start(p.b, toA)
	ba.start(p.a, toB)
	tb.Cleanup(func() { ab.stop(); ba.stop() })
	return ab, ba
}

// TestStreamsKeepToTheirClass: a stream dialled in a class is answered in it, beside one
// with the same ports in another, and ends with its own session only.
func TestStreamsKeepToTheirClass(t *testing.T) {
	const class = 7
	p := newPair(t, fault{})
	ab, ba := p.addClass(t, class)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l, err := p.b.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	open := func(class uint32) (here, there net.Conn) {
		here, err := p.a.DialClass(ctx, p.b.cfg.PubKey, class, 80)
		if err != nil {
			t.Fatal(err)
		}
		if there, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		if got := there.RemoteAddr().(Addr); got.PK != p.a.cfg.PubKey || got.Class != class {
			t.Fatalf("a stream of class %d comes from %v of class %d", class, got, got.Class)
		}
		if got := here.RemoteAddr().(Addr); got.Class != class {
			t.Fatalf("a stream of class %d says it goes to class %d", class, got.Class)
		}
		return here, there
	}
	plain, plainEnd := open(0)
	p.ab.setCut(true) // whatever class 7 needs must not come over the ordinary wires
	p.ba.setCut(true)
	sent := ab.packets() + ba.packets()
	here, there := open(class)
	talk(t, here, there, "in its class")
	talk(t, there, here, "and back")
	if ab.packets()+ba.packets() == sent {
		t.Error("nothing went over the wires of the class")
	}
	p.ab.setCut(false)
	p.ba.setCut(false)
	talk(t, plain, plainEnd, "the ordinary one")

	for _, tt := range []struct {
		pk    cipher.PubKey
		class uint32
		want  bool
	}{{p.b.cfg.PubKey, class, true}, {p.b.cfg.PubKey, 0, true}, {p.b.cfg.PubKey, class + 1, false}, {p.a.cfg.PubKey, class, false}} {
		if got := p.a.Busy(tt.pk, tt.class); got != tt.want {
			t.Errorf("Busy(%s, %d) is %v, want %v", tt.pk.Short(), tt.class, got, tt.want)
		}
	}
	p.a.PeerGone(p.b.cfg.PubKey, class)
	if _, err := here.Read(make([]byte, 1)); err == nil {
		t.Error("the stream outlived its session")
	}
	talk(t, plainEnd, plain, "still there")
}

// TestDatagramsKeepToTheirClass: what ReadFrom says leads back over the same class.
func TestDatagramsKeepToTheirClass(t *testing.T) {
	const class = 9
	p := newPair(t, fault{})
	p.addClass(t, class)
	p.ab.setCut(true)
	p.ba.setCut(true)
	server, err := p.b.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	client, err := p.a.DialPacketClass(context.Background(), p.b.cfg.PubKey, class, 53)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ SetDeadline(time.Time) error }{server, client} {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "question" || from.(Addr).Class != class {
		t.Fatalf("ReadFrom = %q, %v, %v", buf[:n], from, err)
	}
	if _, err := server.WriteTo([]byte("answer"), from); err != nil {
		t.Fatal(err)
	}
	if n, err = client.Read(buf); err != nil || string(buf[:n]) != "answer" {
		t.Fatalf("Read = %q, %v", buf[:n], err)
	}
}

func talk(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := from.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(text))
	if err := to.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, buf); err != nil || string(buf) != text {
		t.Fatalf("read %q, %v; want %q", buf, err, text)
	}
}
