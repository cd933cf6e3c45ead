//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// TestChain moves files from A to C and from C to A at the same time, then
// datagrams, and is refused where it should be.
//
//	A ── B ── C
func TestChain(t *testing.T) {
	for _, typ := range []string{api.SUDPH, api.STCPR} {
		t.Run(typ, func(t *testing.T) {
			r := chain(t, time.Minute, 3)
			v := r.visors()
			a, b, c := v[0], v[1], v[2]
			a.connect(b, typ, 0)
			c.connect(b, typ, 1)
			r.route(100, v)

			c.expose(c.serve(), 80, "--allow", a.PK.String())
			a.expose(a.serve(), 81, "--public")
			const size = 32 << 20
			there := a.send(a.reach(c, 80), size)
			back := c.send(c.reach(a, 81), size)
			for _, x := range []*transfer{there, back} {
				if err := <-x.done; err != nil {
					t.Error(err)
				}
			}
			for _, route := range ask[[]api.Route](b, "route", "ls") {
				if route.Bytes < size {
					t.Errorf("B forwarded %d bytes of %s: the files went another way", route.Bytes, route.In)
				}
			}
			testDatagrams(t, a, c)
			testRefusals(t, a, c, b.PK.String())
		})
	}
}

// testDatagrams sends datagrams of all sizes from a to an echo at c and back.
func testDatagrams(t *testing.T, a, c *node) {
	echo, err := c.ns.ListenPacket("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			echo.WriteTo(buf[:n], from)
		}
	}()
	defer func() { echo.Close(); <-ended }()
	c.ctl("forward", "add", "--udp", "--expose", echo.LocalAddr().String(), "--port", "53", "--allow", a.PK.String())
	local := a.reach(c, 53, "--udp")
	var conn net.Conn
	if err := a.ns.Do(func() (err error) {
		conn, err = net.Dial("udp", local)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 1000, 1400, 9000, 60000} {
		want := bytes.Repeat([]byte{byte(size)}, size)
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write(want); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], want) {
			t.Errorf("a datagram of %d bytes came back with %d: %v", size, n, err)
		}
	}
}

// testRefusals dials a port of c that nobody exposes and one that is for another
// key only. Both must end at once, and not like an end of data.
func testRefusals(t *testing.T, a, c *node, other string) {
	tests := []struct {
		name, want string // want is in what skyctl tells
		at         *node  // of the visor that knows why
		port       int
	}{
		{"nobody listens", "refused the connection", a, 82},
		{"another key is allowed", a.PK.String() + " is not allowed", c, 83},
	}
	c.expose(c.serve(), 83, "--allow", other)
	for _, tt := range tests {
		local := a.reach(c, tt.port)
		start := time.Now()
		conn, err := a.Place.Dial(local)
		if err == nil { // else the reset was faster than we
			conn.SetDeadline(start.Add(5 * time.Second))
			_, err = io.Copy(io.Discard, conn)
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: ended with %v, want a reset", tt.name, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: it took %v", tt.name, took)
		}
		if out := tt.at.ctl("forward", "ls"); !strings.Contains(out, tt.want) {
			t.Errorf("%s: %q is not in the list of forwards:\n%s", tt.name, tt.want, out)
		}
	}
}
