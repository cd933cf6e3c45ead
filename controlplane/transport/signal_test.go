package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/transport/ice"
)

func TestMessage(t *testing.T) {
	d := ice.Description{
		Ufrag: "abcd", Pwd: strings.Repeat("p", 26),
		Candidates: []ice.Candidate{{Kind: ice.Host, Addr: netip.MustParseAddrPort("192.0.2.1:7777")}, {Kind: ice.Srflx, Addr: netip.MustParseAddrPort("[2001:db8::1]:1")}},
	}
	var b bytes.Buffer
	must(t, writeMessage(&b, describe(typeOffer, d)))
	const want = `{"type":"offer","ufrag":"abcd","pwd":"pppppppppppppppppppppppppp","candidates":[{"type":"host","addr":"192.0.2.1:7777"},{"type":"srflx","addr":"[2001:db8::1]:1"}]}` + "\n"
	if b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
	m, err := readMessage(&b)
	must(t, err)
	got, err := m.description()
	if fmt.Sprint(got) != fmt.Sprint(d) || err != nil {
		t.Errorf("%v, %v, want %v", got, err, d)
	}
	for _, bad := range []string{"", "\n", "{}\n", `{"type":"pigeon"}` + "\n", `{"type":"offer"`, `{"type":"offer","x":1}` + "\n", strings.Repeat(" ", 2*maxMessage) + "{}\n"} {
		if _, err := readMessage(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q: no error", bad)
		}
	}
}

// Whoever talks nonsense at the signalling port is told so, or dropped, and the visor goes
// on.
func TestHostileSignals(t *testing.T) {
	n := newTestNetwork(t)
	a, b := n.start(options{noTCP: true}), n.start(options{noTCP: true})
	ask := func(line string) (message, error) {
		st, err := a.dmsg.Dial(testCtx(t), proto.Addr{PK: b.pk, Port: SignalPort})
		must(t, err)
		defer st.Close()
		io.WriteString(st, line)
		return readMessage(st)
	}
	pwd := strings.Repeat("p", 26)
	for _, line := range []string{
		"GET / HTTP/1.1\r\n", "{}\n", `{"type":"answer"}` + "\n", `{"type":"offer","ufrag":"abcd"}` + "\n",
		`{"type":"offer","ufrag":"a:b:c","pwd":"` + pwd + `"}` + "\n", `{"type":"offer","candidates":[{"type":"host","addr":"nonsense"}]}` + "\n",
	} {
		if m, err := ask(line); err != nil || m.Type != typeRefuse || m.Code != codeBad {
			t.Errorf("%q: %+v, %v", line, m, err)
		}
	}
	// Offers that are well formed and come to nothing are limited, and leave nothing.
	evil := message{Type: typeOffer, Ufrag: "abcd", Pwd: pwd}
	for i := range 100 {
		evil.Candidates = append(evil.Candidates, ice.Candidate{Kind: ice.Host, Addr: netip.AddrPortFrom(netip.MustParseAddr("224.0.0.1"), uint16(i+1))})
	}
	line, err := json.Marshal(evil)
	must(t, err)
	codes := map[string]int{}
	limited := func() bool { return codes[typeRefuse+codeRate] > 0 && codes[typeAnswer] > 0 }
	for i := 0; i < 20 || i < 200 && !limited(); i++ { // a slow machine may ask as seldom as is allowed
		m, err := ask(string(line) + "\n")
		if err != nil {
			t.Fatal(err)
		}
		codes[m.Type+m.Code]++
	}
	if !limited() {
		t.Errorf("answers: %v", codes)
	}
	if len(b.List()) != 0 {
		t.Errorf("transports: %+v", b.List())
	}
	for i := range 50 { // an offer more may be allowed by now
		_, err := a.exchange(testCtx(t), b.pk, ice.Description{Ufrag: "abcd", Pwd: pwd})
		if err == nil && i < 49 {
			continue
		}
		if r := (*refusal)(nil); !errors.As(err, &r) || r.code != codeRate {
			t.Errorf("the limit is not said: %v", err)
		}
		break
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"type":"offer","ufrag":"abcd","pwd":"pppppppppppppppppppppppp","candidates":[{"type":"host","addr":"192.0.2.1:7777"}]}`))
	f.Add([]byte(`{"type":"refuse","code":"glare","text":"x"}`))
	f.Add([]byte(`{"type":"offer","candidates":[{"type":"srflx","addr":"[fe80::1%x]:1"},{}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parseMessage(line)
		if err != nil {
			return
		}
		_, _ = m.description()
		ok := ice.Admit(m.Candidates, nil)
		if len(ok) > ice.MaxCandidates {
			t.Fatalf("%d candidates", len(ok))
		}
		again, err := json.Marshal(m)
		if err != nil {
			return // an address with an odd zone has no text
		}
		m2, err := parseMessage(again)
		if err != nil || fmt.Sprint(m2) != fmt.Sprint(m) {
			t.Fatalf("%s: %v, %+v, want %+v", again, err, m2, m)
		}
	})
}
