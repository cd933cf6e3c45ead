package link

import (
	"net"
	"testing"

	"github.com/skyminer/skywire/dataplane/packet"
)

// TestSockHoldsNothingWhileItWaits reads from an empty socket the way the runtime's
// poller has it done.
func TestSockHoldsNothingWhileItWaits(t *testing.T) {
	a, b := tcpPair(t)
	defer a.Close()
	defer b.Close()
	k := newSock(a)
	var r reader
	k.in = &r
	calls := 0
	_ = k.raw.Read(func(fd uintptr) bool {
		calls++
		if k.tryRead(fd) {
			t.Errorf("read %d bytes of nothing: %v", r.end, k.rerr)
		}
		if r.buf != nil {
			t.Error("a slab waits with the reader")
		}
		return true
	})
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	// With half a record in it the slab stays.
	if _, err := b.Write([]byte{0, 0, 1}); err != nil {
		t.Fatal(err)
	}
	if err := k.read(&r); err != nil || r.end != 3 {
		t.Fatalf("read %d bytes, %v, want 3", r.end, err)
	}
	_ = k.raw.Read(func(fd uintptr) bool { k.tryRead(fd); return true })
	if r.buf == nil || r.end != 3 {
		t.Error("half a header is gone")
	}
	r.start = r.end
	r.rest()
}

// TestSockDoesNotWait fills a socket that nobody reads.
func TestSockDoesNotWait(t *testing.T) {
	a, b := tcpPair(t)
	defer a.Close()
	defer b.Close()
	k := newSock(a)
	chunk := make([]byte, 1<<20)
	sum := 0
	for {
		n, err := k.write(chunk, false)
		if err != nil {
			t.Fatal(err)
		}
		if sum += n; n < len(chunk) {
			break
		}
	}
	// The other end reads all of it and one byte more, which waits for room.
	read := make(chan error)
	go func() {
		_, err := readN(b, sum+1)
		read <- err
	}()
	if n, err := k.write(chunk[:1], true); n != 1 || err != nil {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func readN(c net.Conn, n int) (sum int, err error) {
	b := make([]byte, 64<<10)
	for sum < n && err == nil {
		var m int
		m, err = c.Read(b)
		sum += m
	}
	return sum, err
}

// TestReaderSpace: the buffer has room for the record under way whatever came
// before it, and large records are read to their end only.
func TestReaderSpace(t *testing.T) {
	var r reader
	head := func(at, size int) { copy(r.buf.B[at:], []byte{0, byte(size >> 16), byte(size >> 8), byte(size)}) }
	if n := len(r.space()); n != packet.BufCap {
		t.Fatalf("%d bytes of space in an empty reader", n)
	}
	defer func() { r.buf.Free() }()
	// 10 bytes of a small record at the very end move to the front.
	r.start, r.end = packet.BufCap-10, packet.BufCap
	head(r.start, 100)
	r.buf.B[packet.BufCap-1] = 77
	if n := len(r.space()); r.start != 0 || r.end != 10 || n != packet.BufCap-10 || r.buf.B[9] != 77 {
		t.Errorf("after moving: %d..%d and %d bytes of space", r.start, r.end, n)
	}
	// So does half a header.
	r.start, r.end = packet.BufCap-2, packet.BufCap
	if n := len(r.space()); r.start != 0 || r.end != 2 || n != packet.BufCap-2 {
		t.Errorf("after moving: %d..%d and %d bytes of space", r.start, r.end, n)
	}
	// The largest record fits from the front on, with the next one's header.
	r.start, r.end = 200, 300
	head(r.start, maxRecordBody)
	if n := len(r.space()); r.start != 0 || n != recordHeaderLen+maxRecordBody+recordHeaderLen-100 {
		t.Errorf("%d bytes of space for the rest of the largest record", n)
	}
}
