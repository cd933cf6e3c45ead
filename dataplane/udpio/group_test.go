package udpio

import (
	"bytes"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/skyminer/skywire/dataplane/packet"
)

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		want string // in the error; empty for none
	}{
		{"default", func(*Config) {}, ""},
		{"no address", func(c *Config) { c.Addr = netip.AddrPort{} }, "no address"},
		{"no workers", func(c *Config) { c.Workers = 0 }, "0 workers"},
		{"too many workers", func(c *Config) { c.Workers = MaxWorkers + 1 }, "17 workers"},
		{"negative buffer", func(c *Config) { c.SendBuf = -1 }, "negative"},
	}
	for _, tt := range tests {
		cfg := DefaultConfig()
		tt.set(&cfg)
		err := cfg.Validate()
		if tt.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if _, lerr := Listen(cfg); tt.want != "" && (lerr == nil || lerr.Error() != err.Error()) {
			t.Errorf("%s: Listen says %v, want %v", tt.name, lerr, err)
		}
	}
}

func TestListenOnATakenPort(t *testing.T) {
	for _, m := range modes {
		g := open(t, "127.0.0.1:0", m.set)
		cfg := DefaultConfig()
		m.set(&cfg)
		cfg.Addr = g.LocalAddr()
		h, err := Listen(cfg)
		if err == nil {
			h.Close()
			t.Errorf("%s: a second group on %v", m.name, cfg.Addr)
		}
	}
}

// What the kernel gives is told once per group, with the setting that helps.
func TestSmallBuffersAreWarnedAbout(t *testing.T) {
	var log bytes.Buffer
	g := open(t, "127.0.0.1:0", func(c *Config) {
		c.Workers = 3
		c.Log = zerolog.New(&log)
		c.RecvBuf, c.SendBuf = math.MaxInt32/2, 1 // no kernel allows so much; the smallest allowed is more than 1
	})
	s := g.Stats()
	if strings.Contains(log.String(), "wmem_max") || s.SendBuf < g.Len() {
		t.Errorf("send buffers of %d bytes: %s", s.SendBuf, &log)
	}
	if s.RecvBuf < math.MaxInt32/2*g.Len() && strings.Count(log.String(), "net.core.rmem_max") != 1 {
		t.Errorf("receive buffers of %d bytes: want one warning, got %q", s.RecvBuf, &log)
	}
}

func TestDropReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range numDropReasons {
		name := r.String()
		if name == "unknown" || seen[name] {
			t.Errorf("reason %d is called %q", r, name)
		}
		seen[name] = true
	}
	if got := numDropReasons.String(); got != "unknown" {
		t.Errorf("no reason is called %q", got)
	}
}

// Empty datagrams are legal on the wire and of no use to anybody.
func TestEmptyDatagramsAreCounted(t *testing.T) {
	for _, m := range modes {
		rx, tx := open(t, "127.0.0.1:0", m.set), open(t, "127.0.0.1:0", m.set)
		for range 2 {
			if _, err := tx.Conn(0).udp.WriteToUDPAddrPort(nil, rx.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		w := tx.Conn(0).NewWriter()
		w.Add([]byte("full"), 0, rx.LocalAddr())
		flush(t, w)
		if d := receive(t, rx, 1); d[0].data != "full" {
			t.Errorf("%s: received %v", m.name, d)
		}
		if s := rx.Stats(); s.Drops[DropRecvEmpty] != 2 || s.RxDatagrams != 1 {
			t.Errorf("%s: %d empty and %d full, want 2 and 1", m.name, s.Drops[DropRecvEmpty], s.RxDatagrams)
		}
	}
}

// Under -tags dpdebug a batch that is read again is mangled first.
func TestOldBatchIsMangled(t *testing.T) {
	rx, tx := open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0")
	w := tx.Conn(0).NewWriter()
	w.Add([]byte("first"), 0, rx.LocalAddr())
	flush(t, w)
	b := NewBatch()
	if err := rx.Conn(0).ReadBatch(b); err != nil {
		t.Fatal(err)
	}
	stale := b.Pkts[0].Data
	w.Add([]byte("x"), 0, rx.LocalAddr())
	flush(t, w)
	if err := rx.Conn(0).ReadBatch(b); err != nil {
		t.Fatal(err)
	}
	want := "xirst"
	if packet.Debug {
		want = "x\xdd\xdd\xdd\xdd"
	}
	if string(stale) != want {
		t.Errorf("the old slice reads %q, want %q", stale, want)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		return // the race detector allocates
	}
	for _, m := range modes {
		for _, fam := range families {
			rx, tx := open(t, fam.rx, m.set), open(t, fam.tx, m.set)
			to := netip.AddrPortFrom(netip.MustParseAddr(fam.to), rx.LocalAddr().Port())
			w, b := tx.Conn(0).NewWriter(), NewBatch()
			data := make([]byte, 5*1200)
			if n := testing.AllocsPerRun(3, func() {
				for range 100 {
					w.Add(data, 1200, to)
					w.Add(data[:3], 0, to)
					w.Add(data, 0, netip.AddrPort{}) // dropped
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
					for got := 0; got < len(data)+3; {
						if err := rx.Conn(0).ReadBatch(b); err != nil {
							t.Fatal(err)
						}
						for _, p := range b.Pkts[:b.N] {
							got += len(p.Data)
						}
					}
				}
			}); n != 0 {
				t.Errorf("%s, %s: %v allocations per 100 rounds, want 0", m.name, fam.name, n)
			}
		}
	}
}
