package netstack

import (
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// cpuTime returns the CPU time of the process so far.
func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkStream sends through two stacks and the fake network, which copies and
// cuts as a session does. Mbyte/cpu-s counts both ends and the network together.
func BenchmarkStream(b *testing.B) {
	const size = 256 << 10
	p := newPair(b, fault{})
	c, s := join(b, p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, size)
		for {
			if _, err := s.Read(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, size)
	for range 400 { // until the windows have grown
		c.Write(buf)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := cpuTime(b)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	used := cpuTime(b) - start
	runtime.ReadMemStats(&after)
	mib := float64(b.N) * size / (1 << 20)
	b.ReportMetric(float64(b.N)*size/1e6/used.Seconds(), "Mbyte/cpu-s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/mib, "allocs/MiB")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/mib, "B/MiB")
	b.ReportMetric(float64(p.ab.lost), "lost")
	c.Close()
	s.Close()
	<-done
}

// BenchmarkPingPong is the round trip of 64 bytes.
func BenchmarkPingPong(b *testing.B) {
	p := newPair(b, fault{})
	c, s := join(b, p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s})
	}()
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	s.Close()
	<-done
}

// BenchmarkForward is port forwarding: kernel socket, stream, kernel socket; with
// ReadFrom and WriteTo, and without.
func BenchmarkForward(b *testing.B) {
	for _, mode := range []string{"io.Copy", "by hand"} {
		b.Run(mode, func(b *testing.B) {
			const size = 256 << 10
			p := newPair(b, fault{})
			c, s := join(b, p)
			in, in2 := hostPair(b)
			out, out2 := hostPair(b)
			go func() {
				if mode == "io.Copy" {
					io.Copy(c, in2)
				} else {
					io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{in2}, make([]byte, 64<<10))
				}
				c.CloseWrite()
			}()
			go func() {
				if mode == "io.Copy" {
					io.Copy(out, s)
				} else {
					io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{s}, make([]byte, 64<<10))
				}
				out.Close()
			}()
			done := make(chan struct{})
			go func() { defer close(done); io.Copy(io.Discard, out2) }()
			buf := make([]byte, size)
			for range 100 {
				in.Write(buf)
			}
			start := cpuTime(b)
			b.SetBytes(size)
			for b.Loop() {
				if _, err := in.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*size/1e6/(cpuTime(b)-start).Seconds(), "Mbyte/cpu-s")
			in.Close()
			<-done
			c.Close()
			s.Close()
		})
	}
}

// hostPair returns both ends of a TCP connection on loopback.
func hostPair(tb testing.TB) (a, b *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { x.Close(); y.Close() })
	return x.(*net.TCPConn), y.(*net.TCPConn)
}
