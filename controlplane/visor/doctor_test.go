package visor

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/stunclient"
)

// TestSkew: a clock that says whole seconds is only then off when that cannot be
// rounding.
func TestSkew(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	tests := []struct {
		date, start, end time.Time
		want             time.Duration
	}{
		{at, ms(0), ms(10), 0},
		{at, ms(900), ms(990), 0},
		{at, ms(1500), ms(1600), -500 * time.Millisecond},
		{at, ms(-100), ms(-50), 50 * time.Millisecond},
		{at.Add(24 * time.Hour), ms(0), ms(10), 24*time.Hour - 10*time.Millisecond},
		{at.Add(-24 * time.Hour), ms(0), ms(10), -24*time.Hour + time.Second},
	}
	for _, tt := range tests {
		if got := skew(tt.date, tt.start, tt.end); got != tt.want {
			t.Errorf("date %v within %v and %v: %v, want %v", tt.date, tt.start, tt.end, got, tt.want)
		}
	}
}

// TestClock: who is ahead, and when it matters.
func TestClock(t *testing.T) {
	v := &Visor{network: &network{}}
	for skew, want := range map[time.Duration]struct{ verdict, text string }{
		0:                 {api.CheckOK, "right"},
		3 * time.Second:   {api.CheckOK, "right"},
		-20 * time.Second: {api.CheckWarn, "20s ahead"},
		24 * time.Hour:    {api.CheckFail, "24h0m0s behind"},
	} {
		c := v.checkClock(skew, true)
		if c.Verdict != want.verdict || !strings.Contains(c.Text, want.text) || (c.Verdict == api.CheckOK) != (c.Advice == "") {
			t.Errorf("%v: %+v, want %+v", skew, c, want)
		}
	}
	if c := v.checkClock(0, false); c.Verdict != api.CheckSkip {
		t.Errorf("nobody to compare with: %+v", c)
	}
}

func TestNATWords(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.7:4000")
	for _, tt := range []struct {
		nat           stunclient.NAT
		verdict, text string
	}{
		{stunclient.NAT{Mapped: at, Mapping: stunclient.None}, api.CheckOK, "public address 192.0.2.7"},
		{stunclient.NAT{Mapped: at, Mapping: stunclient.None, Filtering: stunclient.PortDependent}, api.CheckOK, "firewall"},
		{stunclient.NAT{Mapped: at, Mapping: stunclient.EndpointIndependent, Filtering: stunclient.AddressDependent}, api.CheckOK, "whom we have sent to"},
		{stunclient.NAT{Mapped: at, All: []netip.AddrPort{at}, Mapping: stunclient.PortDependent}, api.CheckWarn, "symmetric"},
		{stunclient.NAT{Mapped: at}, api.CheckOK, "unknown"},
	} {
		c := natCheck("NAT", &tt.nat)
		if c.Verdict != tt.verdict || !strings.Contains(c.Text, tt.text) || !strings.Contains(c.Text, "192.0.2.7") {
			t.Errorf("%+v: %+v, want %s, %q", tt.nat, c, tt.verdict, tt.text)
		}
	}
}
