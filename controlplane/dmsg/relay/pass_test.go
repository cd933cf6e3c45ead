package relay

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

func TestPassThrough(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, there := dial(d, l)
	if n := r.Snapshot().Streams; n != 1 {
		t.Errorf("%d streams, want 1", n)
	}

	// Both ways, frames of all sizes; the relay may cut them in two.
	rng := rand.New(rand.NewPCG(1, 2))
	for _, way := range []struct {
		from, to *peer
		out, in  uint32
	}{{d, l, at, there}, {l, d, there, at}} {
		for _, size := range []int{1, 11, 12, 13, 4096, 65535, 100_000} {
			sent := make([]byte, size)
			for i := range sent {
				sent[i] = byte(rng.Uint32())
			}
			way.from.send(yamux.Header{Type: yamux.TypeData, StreamID: way.out}, sent)
			if got := way.to.data(way.in, size); !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes came out different", size)
			}
		}
		way.to.send(yamux.Header{Type: yamux.TypeWindowUpdate, StreamID: way.in, Length: 70_000}, nil)
		way.from.want(yamux.Header{Type: yamux.TypeWindowUpdate, StreamID: way.out, Length: 70_000})
	}
	// Half-close, then the other half.
	d.send(yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagFIN, StreamID: at}, nil)
	l.want(yamux.Header{Type: yamux.TypeWindowUpdate, Flags: yamux.FlagFIN, StreamID: there})
	l.send(yamux.Header{Type: yamux.TypeData, StreamID: there}, []byte("more"))
	if got := d.data(at, 4); string(got) != "more" {
		t.Fatalf("got %q", got)
	}
	l.send(yamux.Header{Type: yamux.TypeData, Flags: yamux.FlagFIN, StreamID: there}, []byte("end"))
	if h, body := d.recv(); h.Flags != yamux.FlagFIN || string(body) != "end" {
		t.Fatalf("frame %+v %q", h, body)
	}
	r.until(t, func() bool { return r.find(d.id.PubKey()).streams()+r.find(l.id.PubKey()).streams() == 0 }, "circuits to go")
	if n := r.Snapshot().Streams; n != 0 {
		t.Errorf("%d streams, want none", n)
	}
}

func TestFrameInPieces(t *testing.T) {
	r := newRig(t, nil)
	d, l := r.connect(t, identity(t)), r.connect(t, identity(t))
	at, there := dial(d, l)
	frame := append(frameBytes(yamux.Header{Type: yamux.TypeData, Flags: yamux.FlagFIN, StreamID: at, Length: 5}), "hello"...)
	var got []byte
	for i := range frame {
		d.write(frame[i : i+1])
		if i >= yamux.HeaderLen { // each byte arrives without the next
			h, body := l.recv()
			got = append(got, body...)
			if last := i == len(frame)-1; h.StreamID != there || (h.Flags == yamux.FlagFIN) != last {
				t.Fatalf("byte %d came in frame %+v", i, h)
			}
		}
	}
	if string(got) != "hello" {
		t.Fatalf("got %q", got)
	}
}

func TestDialToOneself(t *testing.T) {
	r := newRig(t, nil)
	p := r.connect(t, identity(t))
	at, there := dial(p, p)
	p.send(yamux.Header{Type: yamux.TypeData, StreamID: at}, []byte("to me"))
	if got := p.data(there, 5); string(got) != "to me" {
		t.Fatalf("got %q", got)
	}
}

func TestPing(t *testing.T) {
	r := newRig(t, nil)
	p := r.connect(t, identity(t))
	p.send(yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagSYN, Length: 77}, nil)
	p.want(yamux.Header{Type: yamux.TypePing, Flags: yamux.FlagACK, Length: 77})
}
