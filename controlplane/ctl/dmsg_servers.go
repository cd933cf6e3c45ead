package ctl

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A dmsgServer is what servers prints as JSON.
type dmsgServer struct {
	PK      cipher.PubKey `json:"pk"`
	Address string        `json:"address"`
	Type    string        `json:"type,omitempty"`
	Free    *int          `json:"available_sessions,omitempty"` // not known of pinned ones
	RTT     int64         `json:"rtt_us,omitempty"`
	Error   string        `json:"error,omitempty"`
}

const (
	// pingsAtOnce bounds the relays that are measured at once, and relayPings is how
	// often: the quickest answer counts.
	pingsAtOnce = 16
	relayPings  = 3
)

func (p *Program) dmsgServers(cmd *kingpin.CmdClause, f *dmsgFlags) {
	ping := cmd.Flag("ping", "Connect to each and measure the round trip; nearest first.").Bool()
	p.do(cmd, func(ctx context.Context) error {
		n, err := p.network(f)
		if err != nil {
			return err
		}
		defer n.close()
		servers, err := n.servers(ctx)
		if err != nil {
			return err
		}
		if *ping {
			if err := f.pingServers(ctx, servers); err != nil {
				return err
			}
		}
		return p.print(servers, func() { p.printServers(servers, *ping) })
	})
}

// servers returns the relays of the discovery and the pinned ones that it lacks.
func (n *dmsgNet) servers(ctx context.Context) ([]dmsgServer, error) {
	servers := []dmsgServer{}
	if n.dir != nil {
		ctx, cancel := n.f.within(ctx)
		defer cancel()
		entries, err := n.dir.AllServers(ctx)
		if err != nil && !errors.Is(err, disc.ErrNoServers) {
			return nil, n.explainLookup(err)
		}
		for _, e := range entries {
			if e.Server != nil {
				servers = append(servers, dmsgServer{PK: e.Static, Address: clean(e.Server.Address), Type: clean(e.Server.ServerType), Free: &e.Server.AvailableSessions})
			}
		}
	}
	for _, e := range n.f.servers {
		if !slices.ContainsFunc(servers, func(s dmsgServer) bool { return s.PK == e.Static }) {
			servers = append(servers, dmsgServer{PK: e.Static, Address: e.Server.Address, Type: "pinned"})
		}
	}
	return servers, nil
}

// explainLookup makes an error of the discovery one for people.
func (n *dmsgNet) explainLookup(err error) error {
	switch {
	case errors.Is(err, errTooSlow):
		return api.ErrTimeout.With("%s did not answer within %v (--timeout)", n.where(), n.f.timeout)
	case errors.Is(err, context.Canceled):
		return errInterrupted("before " + n.where() + " answered")
	}
	return n.noDiscovery(err)
}

// pingServers measures the round trips to servers and puts the nearest first.
func (f *dmsgFlags) pingServers(ctx context.Context, servers []dmsgServer) error {
	// A key of its own: a session with that of --sk-file would end another one.
	_, sk := cipher.GenerateKeyPair()
	id, err := proto.NewIdentity(sk)
	if err != nil {
		return err
	}
	ctx, cancel := f.within(ctx)
	defer cancel()
	var wg sync.WaitGroup
	places := make(chan struct{}, pingsAtOnce)
	for i := range servers {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			s := &servers[i]
			rtt, err := pingServer(ctx, id, s.PK, s.Address)
			if err != nil {
				s.Error = clean(bare(err))
				return
			}
			s.RTT = max(rtt.Microseconds(), 1)
		})
	}
	wg.Wait()
	slices.SortStableFunc(servers, func(a, b dmsgServer) int {
		if (a.RTT == 0) != (b.RTT == 0) {
			return cmp.Compare(b.RTT, a.RTT)
		}
		return cmp.Compare(a.RTT, b.RTT)
	})
	return nil
}

// pingServer makes a session with a relay, as any client does, and measures it.
func pingServer(ctx context.Context, id *proto.Identity, pk cipher.PubKey, addr string) (time.Duration, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	hop, err := id.DialSession(ctx, conn, pk)
	if err != nil {
		return 0, err
	}
	cfg := dmsg.DefaultConfig()
	mux, err := yamux.New(conn, yamux.Config{Client: true, KeepAlive: cfg.KeepAlive, WriteTimeout: cfg.Patience, Budget: yamux.NewBudget(1 << 20)})
	if err != nil {
		return 0, err
	}
	defer mux.Close()
	best := hop.RTT()
	for range relayPings {
		rtt, err := mux.Ping(ctx)
		if err != nil {
			return 0, err
		}
		best = min(best, rtt)
	}
	return best, nil
}

func (p *Program) printServers(servers []dmsgServer, ping bool) {
	head := []string{"RELAY", "ADDRESS", "TYPE", "FREE"}
	if ping {
		head = append(head, "RTT")
	}
	t := newTable(head...)
	for _, s := range servers {
		free, typ := dash, dash
		if s.Free != nil {
			free = strconv.Itoa(*s.Free)
		}
		if s.Type != "" {
			typ = s.Type
		}
		row := []string{s.PK.String(), s.Address, typ, free}
		if ping {
			row = append(row, millis(s.RTT))
		}
		t.row(row...)
		t.note(s.Error)
	}
	t.write(p.out, "no relays")
}
