package stunclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun"
)

// What callers branch on.
var (
	// ErrNoAnswer says that a server, or all of them, did not answer in time.
	ErrNoAnswer = errors.New("stunclient: no answer")
	// ErrRefused says that a server answered with an error.
	ErrRefused = errors.New("stunclient: the server refuses")
	// ErrNoServer says that no server's name could be resolved, or none was given.
	ErrNoServer = errors.New("stunclient: no STUN server")
)

// A request is sent up to tries times, each time waiting twice as long: answers that
// come within 1.75 s count. (RFC 8489 has 7 tries and 39.5 s, which nobody waits
// for.)
const (
	firstWait = 250 * time.Millisecond
	tries     = 3
)

// maxPending bounds the requests under way of one client.
const maxPending = 64

type transaction = [stun.TransactionIDSize]byte

// A pending request waits for its answer.
type pending struct {
	to      netip.AddrPort
	anybody bool // the answer may come from another port
	answer  chan answer
}

// An answer is what a server said.
type answer struct {
	mapped netip.AddrPort
	other  netip.AddrPort // not valid: the server has no second port
	err    error
}

// A Client asks STUN servers through a socket. All methods may be called
// concurrently.
type Client struct {
	send func(b []byte, to netip.AddrPort) error

	mu      sync.Mutex
	waiting map[transaction]*pending
}

// New returns a client that sends with send, which must not keep b, and is told by
// Handle what arrives.
func New(send func(b []byte, to netip.AddrPort) error) *Client {
	return &Client{send: send, waiting: make(map[transaction]*pending)}
}

// Handle takes a datagram, which it borrows, if it answers a request of this client,
// and says whether it did. It returns at once.
func (c *Client) Handle(b []byte, from netip.AddrPort) bool {
	if !stun.IsMessage(b) {
		return false
	}
	c.mu.Lock()
	p := c.waiting[transaction(b[8:20])] // what is nobody's costs no more than this
	c.mu.Unlock()
	if p == nil {
		return false
	}
	m := stun.Message{Raw: bytes.Clone(b)}
	if err := m.Decode(); err != nil || m.Type.Method != stun.MethodBinding ||
		m.Type.Class != stun.ClassSuccessResponse && m.Type.Class != stun.ClassErrorResponse {
		return false
	}
	if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != p.to && !p.anybody {
		return true // a forged answer is taken out, and not believed
	}
	select {
	case p.answer <- read(&m):
	default: // it has one already
	}
	return true
}

// read reads an answer.
func read(m *stun.Message) (a answer) {
	if m.Type.Class == stun.ClassErrorResponse {
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(m)
		return answer{err: fmt.Errorf("%w: error %d", ErrRefused, code.Code)}
	}
	var xor stun.XORMappedAddress
	if err := xor.GetFrom(m); err != nil {
		return answer{err: fmt.Errorf("%w: no mapped address in the answer", ErrRefused)}
	}
	ip, _ := netip.AddrFromSlice(xor.IP)
	a.mapped = netip.AddrPortFrom(ip.Unmap(), uint16(xor.Port))
	var other stun.OtherAddress
	if other.GetFrom(m) == nil {
		if ip, ok := netip.AddrFromSlice(other.IP); ok {
			a.other = netip.AddrPortFrom(ip.Unmap(), uint16(other.Port))
		}
	}
	return a
}

// ask makes a binding request. flags are those of CHANGE-REQUEST; 0: none.
func (c *Client) ask(ctx context.Context, to netip.AddrPort, flags byte) (answer, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	setters := []stun.Setter{stun.TransactionID, stun.BindingRequest}
	if flags != 0 {
		setters = append(setters, stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, flags}})
	}
	m, err := stun.Build(setters...)
	if err != nil {
		return answer{}, fmt.Errorf("stunclient: %w", err)
	}
	p := &pending{to: to, anybody: flags != 0, answer: make(chan answer, 1)}
	c.mu.Lock()
	if len(c.waiting) >= maxPending {
		c.mu.Unlock()
		return answer{}, errors.New("stunclient: too many requests at once")
	}
	c.waiting[m.TransactionID] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, m.TransactionID)
		c.mu.Unlock()
	}()
	wait := firstWait
	for range tries {
		if err := c.send(m.Raw, to); err != nil {
			return answer{}, fmt.Errorf("stunclient: send to %s: %w", to, err)
		}
		timer := time.NewTimer(wait)
		select {
		case a := <-p.answer:
			timer.Stop()
			return a, a.err
		case <-ctx.Done():
			timer.Stop()
			return answer{}, fmt.Errorf("%w from %s: %w", ErrNoAnswer, to, ctx.Err())
		case <-timer.C:
		}
		wait *= 2
	}
	return answer{}, fmt.Errorf("%w from %s", ErrNoAnswer, to)
}

// Mapped returns the socket's address as the server at to sees it. It takes less than
// two seconds.
func (c *Client) Mapped(ctx context.Context, to netip.AddrPort) (netip.AddrPort, error) {
	a, err := c.ask(ctx, to, 0)
	return a.mapped, err
}
