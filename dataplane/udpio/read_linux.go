package udpio

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rxScratch is what recvmmsg(2) needs beside the slab. The pointers inside lead to
// the same Batch, which never moves.
type rxScratch struct {
	msgs  [Slots]unix.Mmsghdr
	iovs  [Slots]unix.Iovec
	names [Slots]sockaddr
	ctl   [Slots][cmsgSpace]byte
	addrs sockaddrParser

	recv  func(fd uintptr) bool // rx.recvmmsg, bound once so that calls allocate nothing
	n     int                   // messages received
	errno unix.Errno
}

func (rx *rxScratch) init(b *Batch) {
	for i := range rx.msgs {
		rx.iovs[i].Base = &b.slot(i)[0]
		rx.iovs[i].SetLen(MaxSuperpacket)
		h := &rx.msgs[i].Hdr
		h.Iov = &rx.iovs[i]
		h.SetIovlen(1)
		h.Name = &rx.names[i][0]
		h.Control = &rx.ctl[i][0]
	}
	rx.recv = rx.recvmmsg
}

// recvmmsg fills the slots once. It reports false if there is nothing to read, which
// makes the runtime's poller wait and call again.
func (rx *rxScratch) recvmmsg(fd uintptr) bool {
	for i := range rx.msgs {
		h := &rx.msgs[i].Hdr // the kernel writes what it used into these
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(cmsgSpace)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&rx.msgs[0])), Slots,
		unix.MSG_DONTWAIT, 0, 0)
	rx.n, rx.errno = int(n), errno
	if errno != 0 {
		rx.n = 0
	}
	return errno != unix.EAGAIN
}

// readNative is ReadBatch by recvmmsg(2).
func (c *Conn) readNative(b *Batch) error {
	for b.N == 0 {
		if err := c.raw.Read(b.rx.recv); err != nil {
			return fmt.Errorf("udpio: read: %w", err)
		}
		if errno := b.rx.errno; errno != 0 && !transient(errno) {
			return fmt.Errorf("udpio: recvmmsg: %w", errno)
		}
		c.collect(b)
	}
	return nil
}

// collect makes superpackets of the received messages.
func (c *Conn) collect(b *Batch) {
	rx := &b.rx
	datagrams, bytes := 0, 0
	for i := range rx.msgs[:rx.n] {
		m := &rx.msgs[i]
		size := int(m.Len)
		from, ok := rx.addrs.parse(&rx.names[i], m.Hdr.Namelen)
		if !ok || m.Hdr.Flags&unix.MSG_TRUNC != 0 {
			c.drop(DropRecvInvalid, 1)
			continue
		}
		if size == 0 {
			c.drop(DropRecvEmpty, 1)
			continue
		}
		seg := groSize(rx.ctl[i][:min(int(m.Hdr.Controllen), cmsgSpace)])
		if seg <= 0 || seg > size {
			seg = size
		}
		p := &b.Pkts[b.N]
		p.Data, p.Seg, p.From = b.slot(i)[:size:size], seg, from
		b.N++
		bytes += size
		datagrams += p.Datagrams()
	}
	if b.N > 0 {
		c.rx.add(datagrams, bytes, 1)
	}
}
