package dmsg

import (
	"math/rand/v2"
	"sync"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// Dialled streams take their source port from here up, as in the deployed software:
// 49152 to 65535 are 16384 ports.
const firstEphemeral = 49152

// ports is a client's port table. Listeners and dialled streams share it; accepted
// streams live on their listener's port and take none of their own.
type ports struct {
	mu        sync.Mutex
	listeners map[uint16]*Listener
	dialled   map[uint16]struct{}
	next      uint16 // where the search for an ephemeral port goes on
	closed    bool
}

func newPorts() *ports {
	return &ports{
		listeners: map[uint16]*Listener{},
		dialled:   map[uint16]struct{}{},
		// A client that was restarted does not repeat its predecessor's ports at once.
		next: firstEphemeral + uint16(rand.IntN(1<<16-firstEphemeral)),
	}
}

// listen registers l on its port. It fails with proto.ErrPortInUse, or ErrClosed after
// close.
func (p *ports) listen(l *Listener) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	_, dialled := p.dialled[l.port]
	if _, ok := p.listeners[l.port]; ok || dialled {
		return proto.ErrPortInUse
	}
	p.listeners[l.port] = l
	return nil
}

// unlisten frees the port of l if l still has it.
func (p *ports) unlisten(l *Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners[l.port] == l {
		delete(p.listeners, l.port)
	}
}

// listener returns who listens on port, or nil.
func (p *ports) listener(port uint16) *Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listeners[port]
}

// ephemeral reserves a source port. It fails with ErrPortsExhausted after one walk
// through the whole range.
func (p *ports) ephemeral() (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, ErrClosed
	}
	for range 1<<16 - firstEphemeral {
		port := p.next
		if p.next++; p.next == 0 {
			p.next = firstEphemeral
		}
		if _, ok := p.dialled[port]; ok {
			continue
		}
		if _, ok := p.listeners[port]; ok {
			continue
		}
		p.dialled[port] = struct{}{}
		return port, nil
	}
	return 0, ErrPortsExhausted
}

// free gives an ephemeral port back.
func (p *ports) free(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dialled, port)
}

// close refuses what comes later and returns the listeners, for the caller to close.
func (p *ports) close() []*Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	all := make([]*Listener, 0, len(p.listeners))
	for _, l := range p.listeners {
		all = append(all, l)
	}
	return all
}
