package udpio

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestTooBigCostsOnlyItself(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	// The largest datagram that fits: the MTU less the IP and UDP headers.
	for _, tt := range []struct {
		addr string
		fits int
	}{{"127.0.0.1", namespaceMTU - 28}, {"::1", namespaceMTU - 48}} {
		for _, m := range modes {
			t.Run(tt.addr+"/"+m.name, func(t *testing.T) {
				any := netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 0).String()
				rx, rx2, tx := open(t, any, m.set), open(t, any, m.set), open(t, any, m.set)
				w := tx.Conn(0).NewWriter()
				var told []string
				w.OnDrop = func(to netip.AddrPort, size int, r DropReason) {
					if to != rx.LocalAddr() {
						t.Errorf("told of a drop to %v", to)
					}
					told = append(told, fmt.Sprint(size, " ", r))
				}
				gso := tx.Stats().GSO
				fits := tt.fits
				w.Add(make([]byte, 3*fits), fits, rx.LocalAddr())
				w.Add(make([]byte, 2*(fits+1)+500), fits+1, rx.LocalAddr()) // only its last one fits
				w.Add(make([]byte, 2*fits), fits, rx2.LocalAddr())
				w.Add(make([]byte, fits+1), 0, rx.LocalAddr())
				w.Add(make([]byte, 2*fits), fits, rx.LocalAddr())
				flush(t, w)

				var sizes []int
				for _, d := range receive(t, rx, 6) {
					sizes = append(sizes, len(d.data))
				}
				if got, want := fmt.Sprint(sizes), fmt.Sprint([]int{fits, fits, fits, 500, fits, fits}); got != want {
					t.Errorf("received %s, want %s", got, want)
				}
				receive(t, rx2, 2)
				s := tx.Stats()
				if s.Drops[DropTooBig] != 3 || s.TxDatagrams != 8 {
					t.Errorf("%d dropped as too big and %d sent, want 3 and 8: %v", s.Drops[DropTooBig], s.TxDatagrams, s.Drops)
				}
				if s.GSO != gso {
					t.Errorf("segmentation offload is now %v, was %v", s.GSO, gso)
				}
				for _, line := range told {
					if want := fmt.Sprint(fits+1, " too_big"); line != want {
						t.Errorf("told %q, want %q", line, want)
					}
				}
				if len(told) != 3 {
					t.Errorf("told of %d drops, want 3", len(told))
				}
			})
		}
	}
}

func TestSetDF(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		rx, tx := open(t, addr), open(t, addr)
		w := tx.Conn(0).NewWriter()
		w.Add(make([]byte, 3000), 0, rx.LocalAddr())
		flush(t, w)
		if n := tx.Stats().Drops[DropTooBig]; n != 1 {
			t.Errorf("%s: %d dropped as too big at first, want 1", addr, n)
		}
		if err := tx.Conn(0).SetDF(false); err != nil {
			t.Fatal(err)
		}
		w.Add(make([]byte, 3000), 0, rx.LocalAddr())
		flush(t, w)
		if d := receive(t, rx, 1); len(d[0].data) != 3000 {
			t.Errorf("%s: received %d bytes in fragments, want 3000", addr, len(d[0].data))
		}
	}
}

func TestPathMTUHint(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, to := range []string{"127.0.0.1:0", "[::1]:7", "[::ffff:127.0.0.1]:7"} {
		if mtu, err := PathMTUHint(netip.MustParseAddrPort(to)); err != nil || mtu != namespaceMTU {
			t.Errorf("PathMTUHint(%s) = %d, %v, want %d", to, mtu, err, namespaceMTU)
		}
	}
	for _, to := range []string{"192.0.2.1:7", "[2001:db8::1]:7"} {
		if mtu, err := PathMTUHint(netip.MustParseAddrPort(to)); err == nil {
			t.Errorf("PathMTUHint(%s) = %d without a route", to, mtu)
		}
	}
}

// The errors come from the kernel here: there is no route in the namespace.
func TestUnreachableCostsOnlyItself(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, m := range modes {
		rx, tx := open(t, "127.0.0.1:0", m.set), open(t, "[::]:0", m.set)
		w := tx.Conn(0).NewWriter()
		w.Add([]byte("one"), 0, rx.LocalAddr())
		w.Add([]byte("nownowno"), 3, netip.MustParseAddrPort("192.0.2.1:9"))
		w.Add([]byte("two"), 0, rx.LocalAddr())
		w.Add([]byte("no"), 0, netip.MustParseAddrPort("[2001:db8::1]:9"))
		w.Add([]byte("three"), 0, rx.LocalAddr())
		flush(t, w)
		for i, d := range receive(t, rx, 3) {
			if want := []string{"one", "two", "three"}[i]; d.data != want {
				t.Errorf("%s: received %q, want %q", m.name, d.data, want)
			}
		}
		if s := tx.Stats(); s.Drops[DropUnreachable] != 4 {
			t.Errorf("%s: %d counted as unreachable, want 4: %v", m.name, s.Drops[DropUnreachable], s.Drops)
		}
	}
}

// The loopback device sends one datagram a second and the socket buffer holds a
// few: Flush waits, gives up after SendWait and says what it dropped.
func TestFullSocketBufferIsBounded(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: lo.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       1500, Buffer: 100_000_000, Limit: 1 << 20,
	}); err != nil {
		t.Fatal(err)
	}
	for _, gso := range []bool{true, false} {
		const size, n = 1400, 3 * MaxSegments
		tx := open(t, "127.0.0.1:0", func(c *Config) { c.SendBuf, c.NoGSO = 10_000, !gso })
		w := tx.Conn(0).NewWriter()
		told := 0
		w.OnDrop = func(_ netip.AddrPort, _ int, r DropReason) {
			if r == DropSendTimeout {
				told++
			}
		}
		w.Add(make([]byte, n*size), size, netip.MustParseAddrPort("127.0.0.1:9"))
		flush(t, w)
		s := tx.Stats()
		if s.Drops[DropSendTimeout] == 0 || s.TxDatagrams+s.Drops[DropSendTimeout] != n {
			t.Errorf("GSO %v: %d sent, %d dropped, want %d together", gso, s.TxDatagrams, s.Drops[DropSendTimeout], n)
		}
		if told == 0 {
			t.Errorf("GSO %v: OnDrop was not told", gso)
		}
	}
}

// A socket that sends without checksums cannot segment: the kernel says EINVAL to
// each run and takes the datagrams one by one.
func TestRefusedSegmentationIsSwitchedOff(t *testing.T) {
	rx, tx := open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0")
	if !tx.Stats().GSO {
		t.Fatal("no segmentation offload to switch off")
	}
	if err := control(tx.Conn(0).raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}); err != nil {
		t.Fatal(err)
	}
	w := tx.Conn(0).NewWriter()
	w.OnDrop = func(to netip.AddrPort, size int, r DropReason) { t.Errorf("dropped %d bytes: %v", size, r) }
	data := pattern(100*300+7, 1)
	for round := range 2 {
		w.Add(data[:1], 0, rx.LocalAddr())
		w.Add(data, 100, rx.LocalAddr())
		flush(t, w)
		got := receive(t, rx, 302)[1:]
		for i := range got {
			if want := string(data[i*100 : min(i*100+100, len(data))]); got[i].data != want {
				t.Fatalf("round %d: datagram %d differs", round, i)
			}
		}
		if s := tx.Stats(); s.GSO {
			t.Error("segmentation offload is still on")
		}
	}
}
