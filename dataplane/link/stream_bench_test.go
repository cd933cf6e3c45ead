package link

import (
	"encoding/binary"
	"testing"

	"github.com/skyminer/skywire/dataplane/packet"
)

// transfer returns a function that sends an item and waits when window items are
// on their way.
func transfer(b testing.TB, window int, sizes ...int) (send func(), done func()) {
	ca, cb := tcpPair(b)
	credit := make(chan struct{}, window)
	got := 0
	dst := startStream(cb, 2, 1, func(burst *Burst) {
		for got += burst.N; got >= len(sizes); got -= len(sizes) {
			<-credit
		}
	}, nil)
	src := startStream(ca, 1, 2, nil, nil)
	send = func() {
		it := item{buf: packet.GetBuf(), n: len(sizes), seg: sizes[0] + packet.FrameOverhead}
		for _, size := range sizes {
			binary.BigEndian.PutUint32(it.buf.B[it.used+packet.FrameHeaderLen:], 1)
			it.used += size + packet.FrameOverhead
		}
		credit <- struct{}{}
		src.enqueue(nil, it)
	}
	return send, func() {
		for range window {
			credit <- struct{}{}
		}
		stop(src, dst)
	}
}

func repeat(size, n int) (sizes []int) {
	for range n {
		sizes = append(sizes, size)
	}
	return sizes
}

// BenchmarkStream seals, sends through loopback TCP and opens.
func BenchmarkStream(b *testing.B) {
	for _, bench := range []struct {
		name  string
		sizes []int
	}{
		{"64KiB", []int{packet.MaxRoutePacket}},
		{"45x1408", repeat(1408, 45)},
		{"1408", []int{1408}},
		{"64", []int{64}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			size := 0
			for _, n := range bench.sizes {
				size += n
			}
			send, done := transfer(b, max(1<<20/size, 16), bench.sizes...)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
			done()
		})
	}
}

func TestStreamDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		return // sync.Pool drops items at random under the race detector
	}
	send, done := transfer(t, 16, repeat(1408, 10)...)
	defer done()
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			send()
		}
	}); n > 2 {
		t.Errorf("%v allocations per 100 items, want none but a goroutine now and then", n)
	}
}
