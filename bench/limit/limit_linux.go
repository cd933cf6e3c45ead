package limit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// drain is how long the receiver goes on after it was told to end: a full socket
// buffer takes 16 ms at 8 Gbit/s.
const drain = 100 * time.Millisecond

// Send sends to cfg.Addr for cfg.Seconds or until ctx ends, as fast as it can.
func Send(ctx context.Context, cfg Config) (Totals, error) {
	s, err := newSealer(cfg.Key)
	if err != nil {
		return Totals{}, err
	}
	conn, err := net.Dial("udp", cfg.Addr)
	if err != nil {
		return Totals{}, fmt.Errorf("limit: %w", err)
	}
	defer conn.Close()
	udp := conn.(*net.UDPConn)
	if err := setInt(udp, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, SocketBufferBytes); err != nil {
		return Totals{}, err
	}

	var t Totals
	var counter uint64
	buf := make([]byte, PayloadBytes*BatchPackets)
	oob := segmentControl(PayloadBytes)
	start, cpu := time.Now(), cpuTime()
	for end := start.Add(time.Duration(cfg.Seconds * float64(time.Second))); ctx.Err() == nil; {
		for pkt := range BatchPackets {
			s.seal(buf[pkt*PayloadBytes:(pkt+1)*PayloadBytes], counter)
			counter++
		}
		n, _, err := udp.WriteMsgUDP(buf, oob, nil)
		switch {
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOBUFS):
			t.Bad++ // the receiver has gone, or a queue is full: counted as loss
		case err != nil:
			return Totals{}, fmt.Errorf("limit: %w", err)
		}
		t.Calls++
		t.Bytes += int64(n)
		if !time.Now().Before(end) {
			break
		}
	}
	t.Packets = t.Bytes / PayloadBytes
	t.Seconds = time.Since(start).Seconds()
	t.CPUSeconds = (cpuTime() - cpu).Seconds()
	return t, nil
}

// Receive opens what arrives at cfg.Addr until ctx ends; ready is called when
// the socket is there. Time and CPU count from the first datagram to the last.
func Receive(ctx context.Context, cfg Config, ready func()) (Totals, error) {
	s, err := newSealer(cfg.Key)
	if err != nil {
		return Totals{}, err
	}
	addr, err := net.ResolveUDPAddr("udp", cfg.Addr)
	if err != nil {
		return Totals{}, fmt.Errorf("limit: %w", err)
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		return Totals{}, fmt.Errorf("limit: %w", err)
	}
	defer udp.Close()
	if err := setInt(udp, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
		return Totals{}, err
	}
	if err := setInt(udp, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, SocketBufferBytes); err != nil {
		return Totals{}, err
	}
	defer context.AfterFunc(ctx, func() {
		_ = udp.SetReadDeadline(time.Now().Add(drain)) // fails on a closed socket, which ends the reading too
	})()
	ready()

	var t Totals
	var first, last time.Time
	var cpu time.Duration
	buf := make([]byte, 1<<16)
	for {
		// All datagrams have the same size, so the control message that gives
		// the segment size of a GRO buffer is not needed.
		n, _, _, _, err := udp.ReadMsgUDPAddrPort(buf, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return Totals{}, fmt.Errorf("limit: %w", err)
		}
		last = time.Now()
		if t.Calls == 0 {
			first, cpu = last, cpuTime()
		}
		t.Calls++
		t.Bytes += int64(n)
		for b := buf[:n]; len(b) > 0; {
			pkt := b[:min(PayloadBytes, len(b))]
			b = b[len(pkt):]
			t.Packets++
			if !s.open(pkt) {
				t.Bad++
			}
		}
	}
	t.Seconds = last.Sub(first).Seconds()
	if t.Calls > 0 {
		t.CPUSeconds = (cpuTime() - cpu).Seconds()
	}
	return t, nil
}

// segmentControl returns the control message that makes one send into datagrams
// of size bytes, udp(7).
func segmentControl(size uint16) []byte {
	oob := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0])) // struct cmsghdr
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], size)
	return oob
}

func setInt(c *net.UDPConn, level, opt, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), level, opt, value)
	}); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	if sockErr != nil {
		return fmt.Errorf("limit: socket option %d/%d: %w", level, opt, sockErr)
	}
	return nil
}

// cpuTime returns the user and system time that this process has used.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0 // cannot fail for RUSAGE_SELF and a valid pointer, getrusage(2)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
