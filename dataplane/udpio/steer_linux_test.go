package udpio

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Each datagram reaches the socket of its owner, as a superpacket and alone.
func TestSteeringReachesTheOwner(t *testing.T) {
	const workers, segs, size = 5, 12, 900
	for _, fam := range families {
		for _, m := range modes {
			if m.name == "portable" { // has one socket
				continue
			}
			t.Run(fam.name+"/"+m.name, func(t *testing.T) {
				rx := open(t, fam.rx, m.set, func(c *Config) { c.Workers = workers })
				tx := open(t, fam.tx, m.set)
				to := netip.AddrPortFrom(netip.MustParseAddr(fam.to), rx.LocalAddr().Port())
				if rx.Len() != workers {
					t.Fatalf("%d sockets, want %d", rx.Len(), workers)
				}
				w := tx.Conn(0).NewWriter()
				want := make([]int, workers)
				for index := range uint32(20) {
					var run []byte
					for range segs {
						run = append(run, indexed(0x50, 0xabcdef00|index, size)...)
					}
					w.Add(run, size, to)
					w.Add(indexed(0x51, index, 8), 0, to)
					w.Add(indexed(0x01, index, 20), 0, to)    // STUN
					w.Add(indexed(0x50, index, 8)[:7], 0, to) // short
					want[Owner(index, workers)] += segs + 1
					want[0] += 2
				}
				flush(t, w)
				for i, n := range want {
					super := 0
					b := NewBatch()
					for got := 0; got < n; {
						if err := rx.Conn(i).ReadBatch(b); err != nil {
							t.Fatalf("worker %d got %d datagrams, want %d: %v", i, got, n, err)
						}
						for _, p := range b.Pkts[:b.N] {
							for off := 0; off < len(p.Data); off += p.Seg {
								d := p.Data[off:min(off+p.Seg, len(p.Data))]
								if Steer(d, workers) != i {
									t.Fatalf("worker %d got %x", i, d[:min(8, len(d))])
								}
								got++
							}
							if p.Seg < len(p.Data) {
								super++
							}
						}
					}
					if s := rx.Conn(i).Stats(); s.GRO && tx.Stats().GSO && super == 0 {
						t.Errorf("worker %d got no superpacket", i)
					}
				}
				if n := rx.Stats().RxDatagrams; n != 20*(segs+3) {
					t.Errorf("%d datagrams in all, want %d", n, 20*(segs+3))
				}
			})
		}
	}
}

// Without steering every worker may get anything, but nothing is lost.
func TestUnsteeredGroupLosesNothing(t *testing.T) {
	const senders = 40
	rx := open(t, "127.0.0.1:0", func(c *Config) { c.Workers, c.Steer = 3, false })
	for range senders {
		w := open(t, "127.0.0.1:0").Conn(0).NewWriter()
		w.Add(indexed(0x50, 1, 100), 0, rx.LocalAddr())
		flush(t, w)
	}
	// Loopback delivers within sendmmsg, so all of it is in the sockets now.
	b, busy := NewBatch(), 0
	for i := range rx.Len() {
		n := 0
		for queued(t, rx.Conn(i)) {
			if err := rx.Conn(i).ReadBatch(b); err != nil {
				t.Fatal(err)
			}
			n += b.N
		}
		if n > 0 {
			busy++
		}
	}
	if n := rx.Stats().RxDatagrams; n != senders || busy < 2 {
		t.Errorf("%d datagrams on %d sockets, want %d on several", n, busy, senders)
	}
}

// A group owns its port: a second one may not join it and take its packets.
func TestGroupsDoNotShareAPort(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		g := open(t, addr, func(c *Config) { c.Workers = 2 })
		cfg := DefaultConfig()
		cfg.Addr, cfg.Workers = g.LocalAddr(), 2
		if h, err := Listen(cfg); err == nil {
			h.Close()
			t.Errorf("two groups on %v", cfg.Addr)
		}
	}
}

// queued reports whether something waits in the socket.
func queued(t *testing.T, c *Conn) bool {
	t.Helper()
	var n int
	if err := control(c.raw, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func newSteeringVM(t testing.TB, workers int) *bpf.VM {
	t.Helper()
	raw, err := steering(workers)
	if err != nil {
		t.Fatal(err)
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program does not disassemble")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// The program and the Go rule agree.
func TestSteeringProgram(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	for workers := 1; workers <= MaxWorkers; workers++ {
		vm := newSteeringVM(t, workers)
		for range 2000 {
			b := make([]byte, rng.IntN(12))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			if got, err := vm.Run(b); err != nil || got != Steer(b, workers) {
				t.Fatalf("seed %d: %d workers, payload %x: program %d, %v, want %d", seed, workers, b, got, err, Steer(b, workers))
			}
		}
	}
}

func FuzzSteer(f *testing.F) {
	for _, b := range [][]byte{nil, indexed(0x50, 3, 8), indexed(0x4f, 3, 8), indexed(0xff, 15, 7+1)} {
		f.Add(b)
	}
	var vms []*bpf.VM
	for workers := 1; workers <= MaxWorkers; workers++ {
		vms = append(vms, newSteeringVM(f, workers))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for i, vm := range vms {
			if got, err := vm.Run(b); err != nil || got != Steer(b, i+1) {
				t.Errorf("%d workers, payload %x: program %d, %v, want %d", i+1, b, got, err, Steer(b, i+1))
			}
		}
	})
}
