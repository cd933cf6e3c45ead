package ice

import (
	"context"
	"errors"
	"fmt"
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
		if n.hub.busy.Load() != 0 || len(n.hub.queries) != 0 {
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

func TestNAT(t *testing.T) {
	for _, tt := range []struct {
		name string
		nat  *nat
		want string
	}{{"cone", &nat{ip: netip.MustParseAddr("1.1.1.1")}, NATCone}, {"symmetric", &nat{ip: netip.MustParseAddr("1.1.1.1"), symmetric: true}, NATSymmetric}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			stuns := w.stun("9.9.9.9:3478", "9.9.9.9:3479")[:1]
			r := NewReflector(w.join("192.168.1.5:7777", tt.nat).hub, stuns, nil)
			defer r.Close()
			if kind, mapped, err := r.NAT(t.Context()); kind != tt.want || err != nil {
				t.Errorf("%s: %s, %v, %v", tt.name, kind, mapped, err)
			}
		})
	}
	own := addrs("1.1.1.1")
	v := view{netip.MustParseAddrPort("9.9.9.9:1"), netip.MustParseAddrPort("1.1.1.1:7"), nil}
	if kind, _ := judge([]view{v}, own); kind != NATNone {
		t.Errorf("own address: %s", kind)
	}
	if kind, _ := judge([]view{v}, nil); kind != NATUnknown {
		t.Errorf("one answer: %s", kind)
	}
}

// A response that nobody asked for, or from elsewhere, changes nothing; no datagram makes
// the Hub panic.
func FuzzHandle(f *testing.F) {
	req := bindingRequest()
	f.Add(req)
	f.Add(append([]byte{1, 1}, req[2:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &world{hosts: map[netip.AddrPort]*node{}, stuns: map[netip.AddrPort]bool{}, ended: true}
		n := w.join("1.1.1.1:7777", nil)
		answers := make(chan reply, 1)
		var id txID
		if len(b) >= headerLen {
			id = txID(b[8:headerLen])
		}
		defer n.hub.ask(id, answers)()
		n.hub.Handle(b, netip.MustParseAddrPort("9.9.9.9:1"))
		select {
		case r := <-answers:
			mappedAddr(r.b)
		default:
		}
	})
}

// An answer counts only from the server that was asked, and only if it is one.
func TestQueryHostile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.join("1.1.1.1:7777", nil)
		server := netip.MustParseAddrPort("9.9.9.9:3478")
		type result struct {
			addr netip.AddrPort
			err  error
		}
		query := func(from netip.AddrPort, class stun.MessageType, attrs ...stun.Setter) (netip.AddrPort, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := make(chan result, 1)
			go func() { a, err := n.hub.Query(ctx, server); done <- result{a, err} }()
			synctest.Wait()
			n.hub.mu.Lock()
			var id txID
			for id = range n.hub.queries {
			}
			n.hub.mu.Unlock()
			setters := append([]stun.Setter{stun.NewTransactionIDSetter(id), class}, attrs...)
			n.hub.Handle(stun.MustBuild(setters...).Raw, from)
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
