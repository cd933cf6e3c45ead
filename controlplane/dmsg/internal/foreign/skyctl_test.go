package foreign_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/ctl"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsgctrl"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
)

// A peerListener makes a net.Listener of a peer's port.
type peerListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener(accept func() (net.Conn, error)) *peerListener {
	l := &peerListener{conns: make(chan net.Conn), done: make(chan struct{})}
	go func() {
		for {
			conn, err := accept()
			if err != nil {
				return
			}
			select {
			case l.conns <- conn:
			case <-l.done:
				return
			}
		}
	}()
	return l
}

func (l *peerListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *peerListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *peerListener) Addr() net.Addr { return &net.TCPAddr{} }

// skyctl runs a command to its end.
func skyctl(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = ctl.New(&o, &e, "v0", "/nowhere").Main(context.Background(), args)
	return code, o.String(), e.String()
}

// answerPings is a key's control port as the deployed software has it.
func answerPings(accept func() (net.Conn, error)) {
	for {
		conn, err := accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			var b [1]byte
			for {
				if _, err := io.ReadFull(conn, b[:]); err != nil || b[0] != 9 {
					return
				}
				if _, err := conn.Write([]byte{10}); err != nil {
					return
				}
			}
		}()
	}
}

// TestSkyctl: the commands of skyctl against a peer that runs the deployed software,
// by way of either relay.
func TestSkyctl(t *testing.T) {
	for _, relayKind := range []kind{ours, theirs} {
		t.Run("relay "+relayKind.String(), func(t *testing.T) {
			discovery := startDiscovery(t, theirs)
			r := startRelay(t, relayKind, discovery)
			p := startPeer(t, theirs, r, discovery)
			go answerPings(p.listen(dmsgctrl.Port))

			body := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
			lis := newListener(p.listen(dmsghttp.DefaultPort))
			// The deployed server gives a request, and an idle stream, this little time.
			srv := &http.Server{ReadTimeout: 3 * time.Second, IdleTimeout: 30 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Host != p.pk.String() {
					http.Error(w, "the host is "+r.Host, http.StatusBadRequest)
					return
				}
				http.ServeContent(w, r, "", time.Unix(1700000000, 0), bytes.NewReader(body))
			})}
			go func() { _ = srv.Serve(lis) }()
			t.Cleanup(func() { _ = srv.Close() })

			network := []string{"dmsg", "--discovery", discovery}
			code, out, errs := skyctl(append(network, "ping", "-c", "3", "-i", "1ms", p.pk.String())...)
			if code != 0 || !strings.Contains(out, "3 sent, 3 answered") {
				t.Errorf("ping: exit %d: %s%s", code, out, errs)
			}
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file+".part", body[:1<<20], 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, errs = skyctl(append(network, "curl", "--fail", "-C", "-o", file, fmt.Sprintf("dmsg://%v/x", p.pk))...)
			got, err := os.ReadFile(file)
			if code != 0 || err != nil || sha256.Sum256(got) != sha256.Sum256(body) {
				t.Errorf("curl: exit %d: %s; %d of %d bytes, %v", code, errs, len(got), len(body), err)
			}
			if code, out, errs = skyctl(append(network, "servers", "--ping")...); code != 0 || !strings.Contains(out, " ms\n") {
				t.Errorf("servers: exit %d: %s%s", code, out, errs)
			}
			begin := time.Now()
			if code, _, errs = skyctl(append(network, "cat", p.pk.String()+":9")...); code != ctl.ExitFailed {
				t.Errorf("nobody listens: exit %d: %s", code, errs)
			}
			// Their relay says nothing then; ours does at once.
			if took := time.Since(begin); relayKind == ours && took > 2*time.Second {
				t.Errorf("the refusal took %v: %s", took, errs)
			}
		})
	}
}

// TestPingOurs: a peer with the deployed software pings a key that skyctl listens with.
func TestPingOurs(t *testing.T) {
	discovery := startDiscovery(t, theirs)
	r := startRelay(t, theirs, discovery)
	p := startPeer(t, theirs, r, discovery)
	ours := startPeer(t, ours, r, discovery)
	lis := newListener(ours.listen(dmsgctrl.Port))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = dmsgctrl.Serve(ctx, lis) }()
	conn := must(p.dial(ours.pk, dmsgctrl.Port))(t)
	defer func() { _ = conn.Close() }()
	for range 3 {
		if _, err := conn.Write([]byte{9}); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil || b[0] != 10 {
			t.Fatalf("answer %#02x, %v", b[0], err)
		}
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after another byte: %v, want the end", err)
	}
}
