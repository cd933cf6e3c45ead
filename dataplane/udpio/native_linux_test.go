package udpio

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structures that the kernel reads and writes must have its layout
// (include/linux/socket.h struct mmsghdr, include/uapi/linux/uio.h struct iovec).
func TestKernelLayouts(t *testing.T) {
	const word = unsafe.Sizeof(uintptr(0))
	var m unix.Mmsghdr
	msghdr := 7 * word // name, namelen, iov, iovlen, control, controllen, flags
	tests := []struct {
		name      string
		got, want uintptr
	}{
		{"mmsghdr", unsafe.Sizeof(m), msghdr + word},
		{"mmsghdr.len", unsafe.Offsetof(m.Len), msghdr},
		{"msghdr.iov", unsafe.Offsetof(m.Hdr.Iov), 2 * word},
		{"msghdr.controllen", unsafe.Offsetof(m.Hdr.Controllen), 5 * word},
		{"iovec", unsafe.Sizeof(unix.Iovec{}), 2 * word},
		{"cmsghdr", unix.SizeofCmsghdr, word + 8},
		{"sockaddr_in6", unsafe.Sizeof(sockaddr{}), 28},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}

// Bytes as Linux on a little-endian 64-bit machine lays them out.
func TestSockaddrGolden(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return // only the family and the scope differ elsewhere
	}
	tests := []struct {
		addr   string
		v4only bool
		want   string // the length follows from it
		back   string
	}{
		{"192.0.2.1:4660", true, "02001234c00002010000000000000000", "192.0.2.1:4660"},
		{"[::ffff:192.0.2.1]:4660", true, "02001234c00002010000000000000000", "192.0.2.1:4660"},
		{"192.0.2.1:4660", false, "0a0012340000000000000000000000000000ffffc000020100000000", "192.0.2.1:4660"},
		{"[2001:db8::1]:4660", false, "0a0012340000000020010db800000000000000000000000100000000", "[2001:db8::1]:4660"},
		{"[fe80::1%7]:4660", false, "0a00123400000000fe80000000000000000000000000000107000000", "[fe80::1%7]:4660"},
		{"[fe80::1%lo]:4660", false, "0a00123400000000fe80000000000000000000000000000101000000", "[fe80::1%1]:4660"},
		{"[fe80::1%nope]:4660", false, "0a00123400000000fe80000000000000000000000000000100000000", "[fe80::1]:4660"},
	}
	var p sockaddrParser
	for _, tt := range tests {
		sa := sockaddr{}
		for i := range sa {
			sa[i] = 0xee // what an earlier address left
		}
		n := sa.put(netip.MustParseAddrPort(tt.addr), tt.v4only)
		if got := hex.EncodeToString(sa[:n]); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.addr, got, tt.want)
		}
		if back, ok := p.parse(&sa, n); !ok || back.String() != tt.back {
			t.Errorf("%s: parsed as %v, %v, want %s", tt.addr, back, ok, tt.back)
		}
		for short := range n {
			if back, ok := p.parse(&sa, short); ok {
				t.Errorf("%s: parsed %d of %d bytes as %v", tt.addr, short, n, back)
			}
		}
	}
}

// cmsgs lays out control messages as the kernel does.
func cmsgs(msgs ...unix.Cmsghdr) (b []byte) {
	for _, m := range msgs {
		one := make([]byte, unix.CmsgSpace(int(m.Len)-unix.SizeofCmsghdr))
		*(*unix.Cmsghdr)(unsafe.Pointer(&one[0])) = m
		binary.NativeEndian.PutUint32(one[unix.SizeofCmsghdr:], 1400)
		b = append(b, one...)
	}
	return b
}

func TestGroSize(t *testing.T) {
	h := func(level, typ int32, data int) (m unix.Cmsghdr) {
		m.Level, m.Type = level, typ
		m.SetLen(unix.SizeofCmsghdr + data)
		return m
	}
	gro, other := h(unix.SOL_UDP, unix.UDP_GRO, 4), h(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 4)
	tests := []struct {
		name string
		b    []byte
		want int
	}{
		{"none", nil, 0},
		{"alone", cmsgs(gro), 1400},
		{"first", cmsgs(gro, other), 1400},
		{"second", cmsgs(other, gro), 1400},
		{"another", cmsgs(other), 0},
		{"same type, another level", cmsgs(h(unix.SOL_SOCKET, unix.UDP_GRO, 4)), 0},
		{"cut short", cmsgs(gro)[:unix.SizeofCmsghdr+3], 0},
		{"header cut short", cmsgs(gro)[:unix.SizeofCmsghdr-1], 0},
		{"length too small", make([]byte, 64), 0},
	}
	for _, tt := range tests {
		if got := groSize(tt.b); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func FuzzGroSize(f *testing.F) {
	f.Add([]byte{})
	var gro unix.Cmsghdr
	gro.Level, gro.Type = unix.SOL_UDP, unix.UDP_GRO
	gro.SetLen(unix.SizeofCmsghdr + 4)
	f.Add(cmsgs(gro))
	f.Add(cmsgs(gro, gro)[4:])
	f.Fuzz(func(t *testing.T, b []byte) { groSize(b) })
}

func TestSegmentMessage(t *testing.T) {
	var b [cmsgSpace]byte
	putSegmentHeader(&b)
	putSegmentSize(&b, 40000)
	msgs, err := unix.ParseSocketControlMessage(b[:])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("parsed as %v, %v", msgs, err)
	}
	if m := msgs[0]; m.Header.Level != unix.SOL_UDP || m.Header.Type != unix.UDP_SEGMENT ||
		len(m.Data) != 2 || binary.NativeEndian.Uint16(m.Data) != 40000 {
		t.Errorf("parsed as %+v", m)
	}
}

// Add joins what the kernel can take as one message, and no more than every kernel
// that segments can take.
func TestJoining(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	type add struct {
		times, size, seg int
		to               netip.AddrPort
	}
	tests := []struct {
		name string
		adds []add
		want []int // datagrams per message
	}{
		{"lone ones", []add{{44, 1400, 0, a}}, []int{44}},
		{"a shorter one ends it", []add{{3, 1400, 0, a}, {1, 9, 0, a}, {2, 1400, 0, a}}, []int{4, 2}},
		{"a longer one does not fit", []add{{2, 900, 0, a}, {2, 1400, 0, a}}, []int{2, 2}},
		{"a run of another size", []add{{1, 2800, 1400, a}, {1, 200, 100, a}}, []int{2, 2}},
		{"two addresses", []add{{2, 1400, 0, a}, {2, 1400, 0, b}, {1, 1400, 0, a}}, []int{2, 2, 1}},
		{"at most MaxSegments", []add{{13, 50, 10, a}}, []int{60, 5}},
		{"at most MaxSendBytes", []add{{50, 1400, 0, a}}, []int{46, 4}},
		{"cut to pieces", []add{{1, 100 * 1000, 1000, a}}, []int{64, 36}},
		{"cut, then joined", []add{{1, 70 * 100, 100, a}, {1, 100, 0, a}}, []int{64, 7}},
	}
	w := open(t, "127.0.0.1:0").Conn(0).NewWriter()
	for _, tt := range tests {
		w.n = 0
		for _, add := range tt.adds {
			for range add.times {
				w.Add(make([]byte, add.size), add.seg, add.to)
			}
		}
		if at := w.fill(cursor{}, 0); at.ent != w.n {
			t.Errorf("%s: %d entries of %d taken", tt.name, at.ent, w.n)
		}
		var got []int
		for _, r := range w.tx.runs[:w.tx.nmsg] {
			got = append(got, r.datagrams)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v datagrams per message, want %v", tt.name, got, tt.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		errno      unix.Errno
		run, alone fate // for several datagrams and for one
		reason     DropReason
	}{
		{unix.EINTR, again, again, DropSendOther},
		{unix.EAGAIN, waitForRoom, waitForRoom, DropSendOther},
		{unix.EIO, segmentNever, skip, DropSendOther},
		{unix.EINVAL, segmentNot, skip, DropBadAddress},
		{unix.EMSGSIZE, segmentNot, skip, DropTooBig},
		{unix.ENOBUFS, skip, skip, DropNoBuffers},
		{unix.EPERM, skip, skip, DropUnreachable},
		{unix.ENETUNREACH, skip, skip, DropUnreachable},
		{unix.EBADF, dead, dead, DropSendOther},
	}
	for _, tt := range tests {
		if got := verdict(tt.errno, true); got != tt.run {
			t.Errorf("%v for a run: %d, want %d", tt.errno, got, tt.run)
		}
		if got := verdict(tt.errno, false); got != tt.alone {
			t.Errorf("%v for one: %d, want %d", tt.errno, got, tt.alone)
		}
		if got := dropReason(tt.errno); got != tt.reason {
			t.Errorf("%v: reason %v, want %v", tt.errno, got, tt.reason)
		}
	}
}

// Whatever the kernel says, parsing does not panic, and an address that parses goes
// back to the same address.
func FuzzSockaddr(f *testing.F) {
	for _, a := range []string{"192.0.2.1:4660", "[2001:db8::1]:4660", "[fe80::1%7]:4660"} {
		var sa sockaddr
		f.Add(sa[:sa.put(netip.MustParseAddrPort(a), false)])
		f.Add(sa[:sa.put(netip.MustParseAddrPort(a), a[0] != '[')])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var sa, back sockaddr
		var p sockaddrParser
		a, ok := p.parse(&sa, uint32(copy(sa[:], b)))
		if !ok {
			return
		}
		if again, ok := p.parse(&back, back.put(a, a.Addr().Is4())); !ok || again != a {
			t.Errorf("%x parsed as %v, which became %v, %v", b, a, again, ok)
		}
	})
}
