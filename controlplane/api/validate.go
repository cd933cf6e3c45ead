package api

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// A Problem is one thing that is wrong with a request or a configuration.
type Problem struct {
	Path string // of the JSON value, as in links[2].addr
	Text string // what is wrong and what to do
}

// Error returns "path: text".
func (p *Problem) Error() string { return p.Path + ": " + p.Text }

// Problems collects what is wrong. The zero value is empty.
type Problems struct{ found []error }

// Add notes a problem at path.
func (ps *Problems) Add(path, format string, args ...any) {
	ps.found = append(ps.found, &Problem{path, fmt.Sprintf(format, args...)})
}

// Under notes the problems that err joins, their paths below path.
func (ps *Problems) Under(path string, err error) {
	for _, e := range Split(err) {
		var p *Problem
		if errors.As(e, &p) {
			ps.found = append(ps.found, &Problem{join(path, p.Path), p.Text})
		} else if e != nil {
			ps.Add(path, "%v", e)
		}
	}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "." + b
}

// Err returns all problems joined, or nil.
func (ps *Problems) Err() error { return errors.Join(ps.found...) }

// Split returns the errors that errors.Join made one of; any other error is
// returned alone, nil as nothing.
func Split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// Validate returns all that is wrong with s, joined *Problems.
func (s LinkSpec) Validate() error {
	var ps Problems
	needKey(&ps, "pk", s.PK)
	checkType(&ps, s.Type)
	if s.Type != DMSG {
		checkHostPort(&ps, "addr", s.Addr, "203.0.113.7:7777")
	} else if s.Addr != "" {
		ps.Add("addr", "is %q; a dmsg link goes by key alone and has none", s.Addr)
	}
	return ps.Err()
}

// Validate returns all that is wrong with id.
func (id LinkID) Validate() error {
	var ps Problems
	needKey(&ps, "pk", id.PK)
	if id.Type != "" {
		checkType(&ps, id.Type)
	}
	return ps.Err()
}

// Validate returns all that is wrong with h.
func (h Hop) Validate() error {
	var ps Problems
	needKey(&ps, "link", h.Link)
	if h.Label < 1 || h.Label > MaxStaticLabel {
		ps.Add("label", "is %d; labels of static rules are 1 to %d", h.Label, MaxStaticLabel)
	}
	return ps.Err()
}

// Validate returns all that is wrong with r.
func (r Rule) Validate() error {
	var ps Problems
	ps.Under("in", r.In.Validate())
	ps.Under("out", r.Out.Validate())
	if r.Peer != nil {
		needKey(&ps, "peer", *r.Peer)
	} else if r.In.Link == r.Out.Link && !r.In.Link.IsZero() {
		ps.Add("out.link", "is the link that the packets come from; a route does not turn back (at the end of a route, set peer)")
	}
	return ps.Err()
}

// Validate returns all that is wrong with s.
func (s ForwardSpec) Validate() error {
	var ps Problems
	switch {
	case s.Expose != "" && s.Reach != "":
		ps.Add("reach", "expose and reach are both set; make two forwards of them")
	case s.Expose != "":
		s.validateExpose(&ps)
	case s.Reach != "":
		s.validateReach(&ps)
	default:
		ps.Add("", "neither expose nor reach is set: expose a local service on a port of this visor's key, or reach <pk>:<port> on a local address")
	}
	return ps.Err()
}

func (s ForwardSpec) validateExpose(ps *Problems) {
	checkHostPort(ps, "expose", s.Expose, "127.0.0.1:8080")
	if s.Port == 0 {
		ps.Add("port", "is missing: on which port of this visor's key, 1 to 65535")
	}
	if s.Local != "" {
		ps.Add("local", "belongs to reach, not to expose")
	}
	if s.Route != nil {
		ps.Add("route", "belongs to reach: who connects chooses the way, and answers take the same")
	}
	switch {
	case s.Public && len(s.Allow) > 0:
		ps.Add("public", "allow and public are both set; public lets everybody in, so decide for one")
	case !s.Public && len(s.Allow) == 0:
		ps.Add("allow", "is empty: list the keys that may connect, or set public to let everybody in")
	}
	for i, pk := range s.Allow {
		needKey(ps, fmt.Sprintf("allow[%d]", i), pk)
	}
}

func (s ForwardSpec) validateReach(ps *Problems) {
	if _, _, err := ParsePeer(s.Reach); err != nil {
		ps.Add("reach", "%v", err)
	}
	if a, err := netip.ParseAddrPort(s.Local); err != nil || a.Port() == 0 {
		ps.Add("local", "is %q; want the IP address and port to listen on, as in 127.0.0.1:9000", s.Local)
	}
	if s.Port != 0 {
		ps.Add("port", "belongs to expose; the port to reach is part of reach, <pk>:<port>")
	}
	if s.Public || len(s.Allow) > 0 {
		ps.Add("allow", "allow and public belong to expose; who may use a local port is up to the address it listens on")
	}
	if s.Route != nil {
		ps.Under("route", s.Route.Validate())
	}
}

// Validate returns all that is wrong with s; its time-out is checked in use.
func (s PingSpec) Validate() error {
	var ps Problems
	needKey(&ps, "pk", s.PK)
	return ps.Err()
}

// Validate returns what is wrong with the item, if it can say. Paths begin in the
// item: that is what the caller thinks of, the body around it is ours.
func (c Change[T]) Validate() error {
	if v, ok := any(c.Item).(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// ParsePeer splits "<pk>:<port>".
func ParsePeer(s string) (cipher.PubKey, uint16, error) {
	key, port, ok := strings.Cut(s, ":")
	if !ok {
		return cipher.PubKey{}, 0, fmt.Errorf("is %q; want <public key>:<port>", s)
	}
	pk, err := cipher.ParsePubKeyText(key)
	if err != nil {
		return cipher.PubKey{}, 0, fmt.Errorf("%q is no public key (66 hex digits): %w", key, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return cipher.PubKey{}, 0, fmt.Errorf("%q is no port (1 to 65535)", port)
	}
	return pk, uint16(n), nil
}

// Peer returns "<pk>:<port>".
func Peer(pk cipher.PubKey, port uint16) string { return fmt.Sprintf("%s:%d", pk, port) }

// ParseHop splits "<pk>:<label>", the text form of a Hop.
func ParseHop(s string) (Hop, error) {
	key, label, ok := strings.Cut(s, ":")
	if !ok {
		return Hop{}, fmt.Errorf("%q has no label; want <neighbour's public key>:<label>", s)
	}
	pk, err := cipher.ParsePubKeyText(key)
	if err != nil {
		return Hop{}, fmt.Errorf("%q is no public key (66 hex digits): %w", key, err)
	}
	n, err := strconv.ParseUint(label, 10, 32)
	if err != nil {
		return Hop{}, fmt.Errorf("%q is no label (1 to %d)", label, MaxStaticLabel)
	}
	return Hop{pk, uint32(n)}, nil
}

func needKey(ps *Problems, path string, pk cipher.PubKey) {
	if pk.IsZero() {
		ps.Add(path, "is missing: a public key, 66 hex digits")
	}
}

func checkType(ps *Problems, typ string) {
	if typ != SUDPH && typ != STCPR && typ != DMSG {
		ps.Add("type", "is %q; want %q (UDP), %q (TCP) or %q (through relays)", typ, SUDPH, STCPR, DMSG)
	}
}

func checkHostPort(ps *Problems, path, addr, example string) {
	host, port, err := net.SplitHostPort(addr)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || host == "" {
		ps.Add(path, "is %q; want host:port, as in %s", addr, example)
	}
}
