package dmsg

import (
	"errors"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

func TestPorts(t *testing.T) {
	p := newPorts()
	l := &Listener{port: 80}
	if err := p.listen(l); err != nil {
		t.Fatal(err)
	}
	if err := p.listen(&Listener{port: 80}); !errors.Is(err, proto.ErrPortInUse) {
		t.Errorf("listen on a port in use: %v", err)
	}
	if p.listener(80) != l || p.listener(81) != nil {
		t.Error("listener finds the wrong one")
	}
	p.unlisten(&Listener{port: 80}) // somebody else's
	if p.listener(80) != l {
		t.Error("unlisten took another's port")
	}
	p.unlisten(l)
	if p.listener(80) != nil {
		t.Error("unlisten left the port taken")
	}
}

// With all ports in use the deployed software searches for ever, under its lock.
func TestEphemeralPortsRunOut(t *testing.T) {
	p := newPorts()
	const taken = 50000
	if err := p.listen(&Listener{port: taken}); err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{}
	for range 1<<16 - firstEphemeral - 1 {
		port, err := p.ephemeral()
		if err != nil {
			t.Fatal(err)
		}
		if port < firstEphemeral || port == taken || seen[port] {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
	}
	if _, err := p.ephemeral(); !errors.Is(err, ErrPortsExhausted) {
		t.Fatalf("one port too many: %v", err)
	}
	if err := p.listen(&Listener{port: 60000}); !errors.Is(err, proto.ErrPortInUse) {
		t.Errorf("listen on a dialled stream's port: %v", err)
	}
	p.free(60000)
	if port, err := p.ephemeral(); port != 60000 || err != nil {
		t.Errorf("after 60000 came free: %d, %v", port, err)
	}
	p.close()
	if _, err := p.ephemeral(); !errors.Is(err, ErrClosed) {
		t.Errorf("ephemeral after close: %v", err)
	}
	if err := p.listen(&Listener{port: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("listen after close: %v", err)
	}
}
