package stunserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/services/httpd"
)

// Options say how a server behaves. Start from DefaultOptions.
type Options struct {
	// Addr is host:port of the first port, any where that is 0. The second is the next
	// one if that is free. An empty host is every address, IPv4 and IPv6.
	Addr string
	// Rate and Burst limit what one IPv4 address or IPv6 /64 may ask for per second
	// and at once: many visors may stand behind it. 0 limits nothing.
	Rate  float64
	Burst int
	Now   func() time.Time
	Log   zerolog.Logger
}

// DefaultOptions returns what suits a public network.
func DefaultOptions() Options {
	return Options{Addr: ":3478", Rate: 50, Burst: 500, Now: time.Now, Log: zerolog.Nop()}
}

// A Server is a STUN server. All methods may be called concurrently.
type Server struct {
	o       Options
	sockets [][2]*socket // for each family the two ports
	limit   *httpd.Limiter

	requests, replies, limited, ignored atomic.Uint64
}

// New opens the ports. Run the server or Close it.
func New(o Options) (*Server, error) {
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("stunserver: %q is no host:port", o.Addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 65535 {
		return nil, fmt.Errorf("stunserver: the port %q is not 0 to 65534; the next one is used too", port)
	}
	s := &Server{o: o, limit: httpd.NewLimiter(o.Rate, o.Burst, o.Now())}
	err = s.open(host, int(n))
	for try := 1; n == 0 && errors.Is(err, syscall.EADDRINUSE) && try < anyTries; try++ {
		err = s.open(host, 0) // what is free for one family need not be for the other
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// anyTries is how often ports are looked for that are free for both families.
const anyTries = 16

// open opens the ports of both families, with the same numbers. What it has opened
// when it fails is closed.
func (s *Server) open(host string, port int) error {
	var errs []error
	for _, network := range []string{"udp4", "udp6"} {
		pair, err := openPair(network, host, port, s.o.Log)
		if err != nil {
			errs = append(errs, err) // no such family here, or host is of the other one
			continue
		}
		s.sockets = append(s.sockets, pair)
		port = int(pair[0].local.Port())
	}
	// That one family is missing is no fault, that its port is taken is.
	if err := errors.Join(errs...); len(s.sockets) == 0 || errors.Is(err, syscall.EADDRINUSE) {
		s.Close()
		s.sockets = nil
		return err
	}
	return nil
}

// openPair opens a port and the next one or, where somebody else has that, any: a
// reply says which it is.
func openPair(network, host string, port int, log zerolog.Logger) (pair [2]*socket, err error) {
	at := func(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	if pair[0], err = openSocket(network, at(port)); err != nil {
		return pair, err
	}
	next := int(pair[0].local.Port()) + 1
	if pair[1], err = openSocket(network, at(next)); err == nil {
		return pair, nil
	}
	if pair[1], err = openSocket(network, at(0)); err != nil {
		_ = pair[0].pc.Close()
		return pair, err
	}
	if port != 0 {
		log.Warn().Int("port", next).Int("in_its_place", int(pair[1].local.Port())).Msg("the second port is taken; open the one in its place in your firewall, or visors see a stricter NAT than there is")
	}
	return pair, nil
}

// Addr returns the first port, at its IPv4 address if there is one.
func (s *Server) Addr() netip.AddrPort { return s.sockets[0][0].local }

// Close closes the ports of a server that will not run.
func (s *Server) Close() {
	for _, pair := range s.sockets {
		for _, k := range pair {
			_ = k.pc.Close()
		}
	}
}

// Run answers until ctx ends, then closes the ports and returns nil.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, pair := range s.sockets {
		for i := range pair {
			g.Go(func() error { return s.serve(ctx, pair[i], pair[1-i]) })
		}
	}
	g.Go(func() error { <-ctx.Done(); s.Close(); return nil })
	return g.Wait()
}

// maxDatagram is more than any request has; what is longer is cut and refused.
const maxDatagram = 1500

// serve answers what arrives at k; other is the other port.
func (s *Server) serve(ctx context.Context, k, other *socket) error {
	var r responder
	buf := make([]byte, maxDatagram)
	for {
		n, from, at, err := k.read(buf)
		select {
		case <-ctx.Done():
			return nil
		default:
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("stunserver: %w", err)
		case err != nil:
			continue // an ICMP error of an earlier reply
		}
		s.requests.Add(1)
		if !from.IsValid() || from.Port() == 0 || !s.limit.Allow(httpd.SourceOf(from.Addr()), s.o.Now()) {
			s.limited.Add(1)
			continue
		}
		reply, byOther := r.respond(buf[:n], from, at, netip.AddrPortFrom(at.Addr(), other.local.Port()))
		if reply == nil {
			s.ignored.Add(1)
			continue
		}
		out := k
		if byOther {
			out = other
		}
		if out.write(reply, from, at.Addr()) == nil {
			s.replies.Add(1)
		}
	}
}

// WriteMetrics implements httpd.MetricsWriter.
func (s *Server) WriteMetrics(w io.Writer) {
	metrics.WriteCounterUint64(w, "skywire_stun_datagrams_total", s.requests.Load())
	metrics.WriteCounterUint64(w, "skywire_stun_replies_total", s.replies.Load())
	metrics.WriteCounterUint64(w, "skywire_stun_limited_total", s.limited.Load())
	metrics.WriteCounterUint64(w, "skywire_stun_ignored_total", s.ignored.Load())
}
