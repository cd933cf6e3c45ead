package netstack

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestDatagramsBothWays(t *testing.T) {
	p := newPair(t, fault{})
	l, err := p.b.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := p.a.DialPacket(t.Context(), p.b.cfg.PubKey, 53)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	l.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, MaxDatagram)
	for _, size := range []int{0, 1, 1400, 9000, MaxDatagram} {
		want := bytes.Repeat([]byte{byte(size)}, size)
		if n, err := c.Write(want); n != size || err != nil {
			t.Fatalf("write of %d bytes: %d, %v", size, n, err)
		}
		n, from, err := l.ReadFrom(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatalf("%d bytes arrived of %d, %v", n, size, err)
		}
		if from != c.LocalAddr() || from.(Addr).PK != p.a.cfg.PubKey {
			t.Fatalf("from %v, want %v", from, c.LocalAddr())
		}
		if _, err := l.WriteTo(want, from); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); n != size || err != nil {
			t.Fatalf("%d bytes came back of %d, %v", n, size, err)
		}
	}
	if _, err := c.Write(make([]byte, MaxDatagram+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("write of too much: %v", err)
	}
}

func TestDatagramSocket(t *testing.T) {
	p := newPair(t, fault{})
	c, err := p.a.ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	own := c.LocalAddr().(Addr)
	if _, err := p.a.ListenPacket(own.Port); !errors.Is(err, ErrPortInUse) {
		t.Errorf("second socket on the port: %v", err)
	}
	if _, err := c.WriteTo([]byte("to myself"), own); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if n, from, err := c.ReadFrom(b); n != 4 || from != net.Addr(own) || !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("read %q from %v, %v", b[:n], from, err)
	}
	stranger, _ := cipher.GenerateKeyPair()
	if _, err := c.WriteTo(nil, Addr{PK: stranger, Port: 1}); !errors.Is(err, errNoRoute) {
		t.Errorf("write to a stranger: %v", err)
	}
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, _, err := c.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want a timeout", err)
	}
	c.SetReadDeadline(time.Time{})
	err = blocked(t, func() error { _, _, err := c.ReadFrom(b); return err }, func() { p.a.Close() })
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v, want net.ErrClosed", err)
	}
	if _, err := c.WriteTo(nil, own); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v, want net.ErrClosed", err)
	}
	if _, err := p.a.ListenPacket(0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("new socket: %v, want net.ErrClosed", err)
	}
}

// A connected socket hears nobody else.
func TestDatagramForeign(t *testing.T) {
	p := newPair(t, fault{})
	c, err := p.a.DialPacket(t.Context(), p.b.cfg.PubKey, 53)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pc := c.(*PacketConn)
	if r, ok := pc.take(Addr{PK: p.b.cfg.PubKey, Port: 54}, nil); ok || r != DropForeign {
		t.Errorf("another port: %v, %v", r, ok)
	}
	if r, ok := pc.take(Addr{PK: p.a.cfg.PubKey, Port: 53}, nil); ok || r != DropForeign {
		t.Errorf("another key: %v, %v", r, ok)
	}
}

// The slabs against a slice of slices.
func TestDatagramQueueModel(t *testing.T) {
	type dgram struct {
		from Addr
		data []byte
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var q datagrams
	var model []dgram
	held := func() (n int) {
		for _, s := range q.slabs {
			n += cap(s.buf)
		}
		return n
	}
	buf := make([]byte, MaxDatagram)
	dropped := 0
	for i := range 50000 {
		if rng.IntN(1000) < 500+i%5000/50 { // now filling up, now draining
			d := dgram{from: Addr{Port: uint16(i)}, data: make([]byte, []int{0, 10, 1400, 1400, 20000, MaxDatagram}[rng.IntN(6)])}
			d.from.PK[3], d.from.Class = byte(i), uint32(i)<<8
			for j := range d.data {
				d.data[j] = byte(i + j)
			}
			if q.push(d.from, d.data) {
				model = append(model, d)
			} else {
				dropped++
			}
		} else {
			n, size, from, ok := q.pop(buf)
			if ok != (len(model) > 0) {
				t.Fatalf("step %d: pop says %v with %d queued", i, ok, len(model))
			}
			if ok {
				want := model[0]
				model = model[1:]
				if n != size || from != want.from || !slices.Equal(buf[:n], want.data) {
					t.Fatalf("step %d: %d of %d bytes from %v", i, n, size, from)
				}
			}
		}
		if h := held(); h > maxSlabs*slabLen {
			t.Fatalf("step %d: %d bytes held", i, h)
		}
	}
	if dropped == 0 {
		t.Error("the queue was never full")
	}
}

func TestDatagramQueueAllocs(t *testing.T) {
	var q datagrams
	b, data := make([]byte, 1400), make([]byte, 1400)
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			q.push(Addr{Port: 1}, data)
			q.pop(b)
		}
	}); n != 0 {
		t.Errorf("%v allocations per 100 datagrams", n)
	}
}
