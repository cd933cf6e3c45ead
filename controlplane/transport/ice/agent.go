package ice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	pion "github.com/pion/ice/v2"
	"github.com/rs/zerolog"
)

// Timing of the checks. RFC 8445 paces them for the sake of networks of its time (section
// 14); a dozen addresses at this pace are 25 kB per second, and a hole is open two round
// trips after the offer.
const (
	checkInterval = 50 * time.Millisecond
	// What the controlling side waits for something better than a pair that works: an
	// address of the same network, then one that a STUN server has seen, then one that
	// nobody foresaw.
	waitSrflx = 50 * time.Millisecond
	waitPrflx = 100 * time.Millisecond
	// maxChecks lets a pair be tried for as long as an attempt may take.
	maxChecks = 1000
)

// A Description is what one side tells the other: how to prove that checks are its own,
// and where to try.
type Description struct {
	Ufrag      string      `json:"ufrag"`
	Pwd        string      `json:"pwd"`
	Candidates []Candidate `json:"candidates"`
}

// Validate reports what makes d useless, whoever it comes from. Its candidates are for
// Admit.
func (d *Description) Validate() error {
	switch {
	case !iceText(d.Ufrag, 4):
		return errors.New("ice: user name fragment is not 4 to 256 letters and digits")
	case !iceText(d.Pwd, 22):
		return errors.New("ice: password is not 22 to 256 letters and digits")
	}
	return nil
}

// iceText reports whether s is at least low ice-chars (RFC 8839 section 5.4).
func iceText(s string, low int) bool {
	if len(s) < low || len(s) > 256 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}

// An Agent runs the checks with one peer, once.
type Agent struct {
	hub        *Hub
	pion       *pion.Agent
	ufrag, pwd string
	close      sync.Once
}

// NewAgent makes an agent for the socket of h, which listens at listen. It takes a few
// goroutines until it is closed.
//
// Errors: ErrBusy where there are too many.
func (h *Hub) NewAgent(listen netip.AddrPort, log zerolog.Logger) (*Agent, error) {
	if err := h.enter(); err != nil {
		return nil, err
	}
	a := &Agent{hub: h, ufrag: rand.Text()[:8], pwd: rand.Text()}
	ip := listen.Addr()
	m := &mux{hub: h, v4: ip.Unmap().Is4() || ip.IsUnspecified(), v6: ip.Is6() && !ip.Is4In6()}
	cfg := &pion.AgentConfig{
		LocalUfrag: a.ufrag, LocalPwd: a.pwd,
		MulticastDNSMode:       pion.MulticastDNSModeDisabled,
		NetworkTypes:           []pion.NetworkType{pion.NetworkTypeUDP4, pion.NetworkTypeUDP6},
		CandidateTypes:         []pion.CandidateType{pion.CandidateTypeHost},
		InterfaceFilter:        func(string) bool { return false }, // the mux has them all
		UDPMux:                 m,
		LoggerFactory:          logs{log},
		CheckInterval:          ptr(checkInterval),
		KeepaliveInterval:      ptr(time.Second),
		HostAcceptanceMinWait:  ptr(time.Duration(0)),
		SrflxAcceptanceMinWait: ptr(waitSrflx),
		PrflxAcceptanceMinWait: ptr(waitPrflx),
		MaxBindingRequests:     ptr(uint16(maxChecks)),
	}
	var err error
	if a.pion, err = pion.NewAgent(cfg); err == nil {
		err = a.gather()
	}
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("ice: %w", err)
	}
	return a, nil
}

// gather has pion make its local candidates, which takes no time: they are the mux's.
func (a *Agent) gather() error {
	done := make(chan struct{})
	err := a.pion.OnCandidate(func(c pion.Candidate) {
		if c == nil {
			close(done)
		}
	})
	if err == nil {
		err = a.pion.GatherCandidates()
	}
	if err == nil {
		<-done
	}
	return err
}

// Describe returns what to tell the peer, with these candidates.
func (a *Agent) Describe(ours []Candidate) Description {
	return Description{Ufrag: a.ufrag, Pwd: a.pwd, Candidates: ours}
}

// Punch checks the candidates of the peer, which Admit has passed, until one of them
// works in both directions and both sides have agreed on it, and returns its address:
// where datagrams to the peer are to be sent. One side of the two controls. The agent must
// stay open for as long as the peer may still ask.
//
// Errors: ctx's cause; ErrClosed; a description that is of no use.
func (a *Agent) Punch(ctx context.Context, controlling bool, peer Description) (netip.AddrPort, error) {
	if err := peer.Validate(); err != nil {
		return netip.AddrPort{}, err
	}
	for _, c := range peer.Candidates {
		pc, err := remote(c)
		if err == nil {
			err = a.pion.AddRemoteCandidate(pc)
		}
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("ice: candidate %v: %w", c.Addr, err)
		}
	}
	connect := a.pion.Accept
	if controlling {
		connect = a.pion.Dial
	}
	_, err := connect(ctx, peer.Ufrag, peer.Pwd)
	switch {
	case ctx.Err() != nil:
		return netip.AddrPort{}, fmt.Errorf("ice: no hole punched: %w", context.Cause(ctx))
	case errors.Is(err, pion.ErrClosed):
		return netip.AddrPort{}, ErrClosed
	case err != nil:
		return netip.AddrPort{}, fmt.Errorf("ice: %w", err)
	}
	pair, err := a.pion.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return netip.AddrPort{}, errors.Join(errors.New("ice: the pair that was agreed on is gone"), err)
	}
	ip, err := netip.ParseAddr(pair.Remote.Address())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("ice: %w", err)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(pair.Remote.Port())), nil
}

// remote is c in pion's terms.
func remote(c Candidate) (pion.Candidate, error) {
	const component = 1 // there is only one
	host, port := c.Addr.Addr().String(), int(c.Addr.Port())
	if c.Kind == Host {
		return pion.NewCandidateHost(&pion.CandidateHostConfig{Network: "udp", Address: host, Port: port, Component: component})
	}
	return pion.NewCandidateServerReflexive(&pion.CandidateServerReflexiveConfig{
		Network: "udp", Address: host, Port: port, Component: component,
		RelAddr: net.IPv4zero.String(), RelPort: 0,
	})
}

// Close ends the agent and everything that it runs.
func (a *Agent) Close() {
	a.close.Do(func() {
		defer a.hub.leave()
		if a.pion != nil {
			_ = a.pion.GracefulClose() // it is closed whatever it says
		}
	})
}

func ptr[T any](v T) *T { return &v }
