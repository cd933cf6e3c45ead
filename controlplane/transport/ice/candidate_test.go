package ice

import (
	"fmt"
	"net/netip"
	"testing"
)

func addrs(s ...string) (all []netip.Addr) {
	for _, a := range s {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func ports(s ...string) (all []netip.AddrPort) {
	for _, a := range s {
		all = append(all, netip.MustParseAddrPort(a))
	}
	return all
}

func TestGather(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ips    []netip.Addr
		mapped []netip.AddrPort
		want   string
	}{
		{"behind a NAT", addrs("127.0.0.1", "::1", "192.168.1.5", "fe80::1"), ports("1.2.3.4:99"), "[{srflx 1.2.3.4:99} {host 192.168.1.5:7}]"},
		{"public", addrs("127.0.0.1", "1.2.3.4", "2001:db8::1"), ports("1.2.3.4:7"), "[{host 1.2.3.4:7} {host [2001:db8::1]:7}]"},
		{"nothing but loopback", addrs("127.0.0.1"), nil, "[{host 127.0.0.1:7}]"},
		{"STUN on loopback", addrs("127.0.0.1", "10.0.0.1"), ports("127.0.0.1:7"), "[{host 127.0.0.1:7} {host 10.0.0.1:7}]"},
	} {
		if got := fmt.Sprint(gather(tt.ips, 7, tt.mapped)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	many := make([]netip.Addr, 50)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	}
	got := gather(many, 7, ports("1.2.3.4:99"))
	if len(got) != MaxCandidates || got[0].Kind != Srflx {
		t.Errorf("%d candidates, the first %v", len(got), got[0])
	}
	if own, err := Gather(netip.MustParseAddrPort("[::]:7"), nil); err != nil || len(own) == 0 {
		t.Errorf("Gather: %v, %v", own, err)
	}
}

func TestAdmit(t *testing.T) {
	ours := []Candidate{{Host, netip.MustParseAddrPort("10.0.0.1:7")}}
	var theirs []Candidate
	for _, a := range ports("1.2.3.4:5", "[::ffff:1.2.3.4]:5", "127.0.0.1:5", "[::1]:5", "0.0.0.0:5", "[::]:5", "224.0.0.1:5", "[ff02::1]:5",
		"255.255.255.255:5", "169.254.1.1:5", "[fe80::1]:5", "[fe80::1%eth0]:5", "[2001:db8::1%x]:5", "1.2.3.5:0", "10.0.0.1:7", "10.0.0.1:8") {
		theirs = append(theirs, Candidate{Host, a})
	}
	theirs = append(theirs, Candidate{}, Candidate{"relay", netip.MustParseAddrPort("1.2.3.9:5")}, Candidate{Srflx, netip.MustParseAddrPort("[2001:db8::9]:5")})
	want := "[{host 1.2.3.4:5} {host 10.0.0.1:8} {srflx [2001:db8::9]:5}]"
	if got := fmt.Sprint(Admit(theirs, ours)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	lo := []Candidate{{Host, netip.MustParseAddrPort("127.0.0.1:7")}}
	if got := fmt.Sprint(Admit([]Candidate{{Host, netip.MustParseAddrPort("127.0.0.1:5")}}, lo)); got != "[{host 127.0.0.1:5}]" {
		t.Errorf("on loopback: %s", got)
	}
	var many, aimed []Candidate
	for i := range 100 {
		many = append(many, Candidate{Host, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}), 7)})
		aimed = append(aimed, Candidate{Host, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, 1}), uint16(i+1))})
	}
	if got := Admit(many, ours); len(got) != MaxCandidates {
		t.Errorf("%d candidates", len(got))
	}
	if got := Admit(aimed, ours); len(got) != maxPerHost {
		t.Errorf("%d candidates at one address", len(got))
	}
}
