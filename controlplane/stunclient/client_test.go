package stunclient

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answerTo returns an answer to a request.
func answerTo(t testing.TB, request []byte, mapped string, more ...stun.Setter) []byte {
	t.Helper()
	var m stun.Message
	m.Raw = append(m.Raw, request...)
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddrPort(mapped)
	setters := append([]stun.Setter{stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}}, more...)
	out, err := stun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return out.Raw
}

// Lost requests are repeated; a forged answer from elsewhere is not believed.
func TestMappedOverALossyPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := netip.MustParseAddrPort("192.0.2.1:3478")
		var c *Client
		sent := 0
		c = New(func(b []byte, to netip.AddrPort) error {
			if sent++; sent == 1 {
				if !c.Handle(answerTo(t, b, "198.51.100.66:1"), netip.MustParseAddrPort("192.0.2.66:3478")) {
					t.Error("an answer to our request was not taken out")
				}
			}
			if sent == 3 {
				b := append([]byte{}, b...)
				go c.Handle(answerTo(t, b, "198.51.100.7:4242"), to)
			}
			return nil
		})
		start := time.Now()
		got, err := c.Mapped(t.Context(), server)
		if err != nil || got.String() != "198.51.100.7:4242" || time.Since(start) != 750*time.Millisecond {
			t.Errorf("%v, %v after %v", got, err, time.Since(start))
		}
		if c.Handle([]byte("other traffic"), server) {
			t.Error("other traffic was taken out")
		}
	})
}

func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(func([]byte, netip.AddrPort) error { return nil })
		start := time.Now()
		if _, err := c.Mapped(t.Context(), netip.MustParseAddrPort("192.0.2.1:3478")); !errors.Is(err, ErrNoAnswer) || time.Since(start) != 1750*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Mapped(ctx, netip.MustParseAddrPort("192.0.2.1:3478")); !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if len(c.waiting) != 0 {
			t.Errorf("%d requests are left", len(c.waiting))
		}
		res, err := c.Discover(t.Context(), []string{"192.0.2.1:3478", "nonsense"}, Options{})
		if !errors.Is(err, ErrNoAnswer) || len(res.Failed) != 2 {
			t.Errorf("%+v, %v", res, err)
		}
		if _, err := c.Discover(t.Context(), nil, Options{}); !errors.Is(err, ErrNoServer) {
			t.Errorf("%v", err)
		}
	})
}

func TestRefused(t *testing.T) {
	var c *Client
	c = New(func(b []byte, to netip.AddrPort) error {
		var m stun.Message
		m.Raw = append(m.Raw, b...)
		if err := m.Decode(); err != nil {
			t.Error(err)
		}
		out := stun.MustBuild(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingError, stun.CodeUnknownAttribute)
		go c.Handle(out.Raw, to)
		return nil
	})
	if _, err := c.Mapped(t.Context(), netip.MustParseAddrPort("192.0.2.1:3478")); !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
}

// Over a socket of its own nothing is left behind, and the socket goes on.
func TestDiscoverSocket(t *testing.T) {
	listen := func() *net.UDPConn {
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pc.Close() })
		return pc
	}
	server, pc := listen(), listen()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			server.WriteToUDPAddrPort(answerTo(t, b[:n], from.String()), from)
		}
	}()
	res, err := Discover(t.Context(), pc, []string{server.LocalAddr().String()}, Options{})
	if err != nil || res.V4 == nil || res.V4.Mapping != None || res.V4.Mapped.String() != pc.LocalAddr().String() || res.V6 != nil {
		t.Errorf("%+v, %v", res.V4, err)
	}
	if _, err := server.WriteTo([]byte("x"), pc.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 9)
	if n, _, err := pc.ReadFrom(b); n != 1 || err != nil {
		t.Errorf("after Discover: %d, %v", n, err)
	}
	server.Close()
	<-done
}

func FuzzHandle(f *testing.F) {
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	f.Add(answerTo(f, m.Raw, "198.51.100.7:4242", stun.NewSoftware("x"), &stun.OtherAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5}))
	f.Add(m.Raw)
	f.Add(stun.MustBuild(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingError, stun.CodeUnknownAttribute).Raw)
	server := netip.MustParseAddrPort("192.0.2.1:3478")
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(nil)
		p := &pending{to: server, answer: make(chan answer, 1)}
		c.waiting[m.TransactionID] = p
		if c.Handle(b, server) {
			if a := <-p.answer; a.err == nil && !a.mapped.Addr().IsValid() {
				t.Fatal("no error, and no address")
			}
		}
	})
}
