package yamux

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

const benchWrite = 64 << 10 // bytes per call

// BenchmarkBulk sends over loopback TCP with our sessions, through net.Conn and
// through the calls that copy nothing, and with hashicorp/yamux for comparison; the
// plain connection is the limit for all.
func BenchmarkBulk(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("streams=%d", n), func(b *testing.B) {
			b.Run("ours", func(b *testing.B) {
				c, s := sessions(b, Config{}, Config{Budget: NewBudget(64 << 20)})
				bulk(b, n, func(int) (net.Conn, net.Conn) {
					x, y := streams(b, c, s)
					return x, y
				}, copyOut, copyIn)
			})
			b.Run("ours in place", func(b *testing.B) {
				c, s := sessions(b, Config{}, Config{Budget: NewBudget(64 << 20)})
				bulk(b, n, func(int) (net.Conn, net.Conn) {
					x, y := streams(b, c, s)
					return x, y
				}, sendInPlace, peekInPlace)
			})
			b.Run("hashicorp", func(b *testing.B) {
				x, y := tcpPair(b)
				c, s := foreign(b, x, true), foreign(b, y, false)
				bulk(b, n, func(int) (net.Conn, net.Conn) {
					x, err := c.OpenStream()
					if err != nil {
						b.Fatal(err)
					}
					y, err := s.AcceptStream()
					if err != nil {
						b.Fatal(err)
					}
					return x, y
				}, copyOut, copyIn)
			})
			b.Run("plain tcp", func(b *testing.B) {
				bulk(b, n, func(int) (net.Conn, net.Conn) { return tcpPair(b) }, copyOut, copyIn)
			})
		})
	}
}

// bulk sends b.N times benchWrite bytes, shared out among n streams.
func bulk(b *testing.B, n int, pair func(int) (net.Conn, net.Conn), send, receive func(net.Conn, int) error) {
	b.Helper()
	var wg sync.WaitGroup
	type ends struct{ x, y net.Conn }
	all := make([]ends, n)
	for i := range all {
		all[i].x, all[i].y = pair(i)
		defer all[i].x.Close()
		defer all[i].y.Close()
	}
	b.SetBytes(benchWrite)
	b.ReportAllocs()
	b.ResetTimer()
	for i, e := range all {
		times := b.N / n
		if i < b.N%n {
			times++
		}
		wg.Go(func() {
			if err := send(e.x, times*benchWrite); err != nil {
				b.Error(err)
			}
		})
		wg.Go(func() {
			if err := receive(e.y, times*benchWrite); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

func copyOut(c net.Conn, left int) error {
	p := make([]byte, benchWrite)
	for ; left > 0; left -= len(p) {
		if _, err := c.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func copyIn(c net.Conn, left int) error {
	p := make([]byte, benchWrite)
	for left > 0 {
		n, err := c.Read(p)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func sendInPlace(c net.Conn, left int) error {
	st := c.(*Stream)
	for left > 0 {
		buf, err := st.Reserve(min(left, benchWrite))
		if err != nil {
			return err
		}
		n := len(buf.Bytes())
		if err := st.Send(buf, n); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// peekInPlace takes records as the layer above does.
func peekInPlace(c net.Conn, left int) error {
	st := c.(*Stream)
	for left > 0 {
		p, err := st.Peek(min(left, 4096))
		if err != nil {
			return fmt.Errorf("%w with %d bytes to come", io.ErrUnexpectedEOF, left)
		}
		left -= len(p)
		st.Discard(len(p))
	}
	return nil
}
