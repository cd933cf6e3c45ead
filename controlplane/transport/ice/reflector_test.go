package ice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun"
)

func TestReflector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stuns := append(w.stun("9.9.9.9:3478"), "8.8.8.8:3478") // the second is dead
		n := w.join("192.168.1.5:7777", &nat{ip: netip.MustParseAddr("1.1.1.1")})
		r := NewReflector(n.hub, stuns, nil)
		defer r.Close()
		began := time.Now()
		for range 3 {
			got, err := r.Mapped(t.Context())
			if fmt.Sprint(got) != "[1.1.1.1:20001]" || err != nil {
				t.Fatal(got, err)
			}
		}
		if took := time.Since(began); took > others {
			t.Errorf("took %v", took)
		}
		n.nat.ip = netip.MustParseAddr("1.1.1.2") // another network
		if got, _ := r.Mapped(t.Context()); fmt.Sprint(got) != "[1.1.1.1:20001]" {
			t.Errorf("not remembered: %v", got)
		}
		r.Forget()
		if got, _ := r.Mapped(t.Context()); fmt.Sprint(got) != "[1.1.1.2:20001]" {
			t.Errorf("not forgotten: %v", got)
		}
		if n.hub.busy.Load() != 0 {
			t.Error("queries are left behind")
		}
	})
}

func TestReflectorDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.join("1.1.1.1:7777", nil)
		r := NewReflector(n.hub, []string{"8.8.8.8:3478"}, nil)
		began := time.Now()
		if _, err := r.Mapped(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != askTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		go r.Mapped(context.Background())
		synctest.Wait()
		r.Close()
		if _, err := r.Mapped(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// No datagram makes the Hub panic, and none reaches an agent that is neither named by it nor
// has sent to where it comes from.
func FuzzHandle(f *testing.F) {
	req := bindingRequest()
	f.Add(req)
	f.Add(append([]byte{1, 1}, req[2:]...))
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("mine:theirs")).Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		hub := NewHub(tap(nil))
		hub.busy.Add(2) // two agents
		from := netip.MustParseAddrPort("9.9.9.9:1")
		end := func(ufrag string) *conn {
			c, err := (&mux{hub: hub, v4: true}).GetConn(ufrag, anyAddr(false))
			if err != nil {
				t.Fatal(err)
			}
			return c.(*conn)
		}
		mine, other := end("mine"), end("other")
		if _, err := mine.WriteTo(req, net.UDPAddrFromAddrPort(from)); err != nil {
			t.Fatal(err)
		}
		hub.Handle(b, from)
		if len(mine.queue) == 1 {
			if d := <-mine.queue; !bytes.Equal(d.b, b) || d.from != from {
				t.Errorf("%x from %v, want %x from %v", d.b, d.from, b, from)
			}
		}
		if len(other.queue) > 0 {
			if ufrag, _ := localUfrag(b); ufrag != "other" {
				t.Errorf("what is for %q went to another agent", ufrag)
			}
		}
	})
}

// bindingRequest is a STUN request without attributes.
func bindingRequest() []byte { return stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw }

// A tap is a socket that keeps what is sent, as far as it has room.
type tap chan []byte

// WriteSTUN implements Socket.
func (t tap) WriteSTUN(b []byte, _ netip.AddrPort) error {
	select {
	case t <- bytes.Clone(b):
	default:
	}
	return nil
}

// An answer counts only from the server that was asked, and only if it is one.
func TestQueryHostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := netip.MustParseAddrPort("9.9.9.9:3478")
		type result struct {
			addr netip.AddrPort
			err  error
		}
		query := func(from netip.AddrPort, class stun.MessageType, attrs ...stun.Setter) (netip.AddrPort, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := make(chan result, 1)
			sent := make(tap, 1)
			hub := NewHub(sent)
			go func() { a, err := hub.Query(ctx, server); done <- result{a, err} }()
			asked := &stun.Message{Raw: <-sent}
			if err := asked.Decode(); err != nil {
				t.Error(err)
			}
			setters := append([]stun.Setter{stun.NewTransactionIDSetter(asked.TransactionID), class}, attrs...)
			hub.Handle(stun.MustBuild(setters...).Raw, from)
			r := <-done
			return r.addr, r.err
		}
		mapped := &stun.XORMappedAddress{IP: []byte{1, 2, 3, 4}, Port: 5}
		if a, err := query(server, stun.BindingSuccess, mapped); err != nil || a.String() != "1.2.3.4:5" {
			t.Errorf("%v, %v", a, err)
		}
		for _, tt := range []struct {
			name  string
			from  string
			class stun.MessageType
			attrs []stun.Setter
		}{
			{"from elsewhere", "8.8.8.8:3478", stun.BindingSuccess, []stun.Setter{mapped}},
			{"refused", server.String(), stun.BindingError, nil},
			{"no address", server.String(), stun.BindingSuccess, nil},
			{"port 0", server.String(), stun.BindingSuccess, []stun.Setter{&stun.XORMappedAddress{IP: []byte{1, 2, 3, 4}}}},
			{"multicast", server.String(), stun.BindingSuccess, []stun.Setter{&stun.XORMappedAddress{IP: []byte{224, 0, 0, 1}, Port: 5}}},
		} {
			if a, err := query(netip.MustParseAddrPort(tt.from), tt.class, tt.attrs...); err == nil {
				t.Errorf("%s: %v", tt.name, a)
			}
		}
	})
}
