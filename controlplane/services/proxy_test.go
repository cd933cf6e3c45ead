package services

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// claims is a RoundTripper that adds the headers by which proxies name a caller.
type claims struct{ http.RoundTripper }

func (c claims) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "SW-PublicIP"} {
		r.Header.Set(name, "127.0.0.66")
	}
	return c.RoundTripper.RoundTrip(r)
}

// A visor is where its connection comes from: from a proxy that is known, as that says
// in a PROXY header; headers of HTTP say nothing.
func TestObservedAddress(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ar.json")
	text := `{"addr": "127.0.0.1:0", "stun_addr": "", "proxies": ["127.0.0.2/32"], "store": "bolt://` + filepath.Join(dir, "ar.db") + `"}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "http://" + run(t, "ar", "--config", file).field(t, "service is up", "addr")
	tests := []struct{ from, header, want string }{
		{"127.0.0.1", "", "127.0.0.1"},
		{"127.0.0.2", "PROXY TCP4 127.0.0.9 127.0.0.1 1000 80\r\n", "127.0.0.9"},
	}
	for _, tt := range tests {
		v := newVisor(t)
		rt := deployment.NewRoundTripper(nil)
		rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}}
			c, err := d.DialContext(ctx, network, addr)
			if err == nil {
				_, err = fmt.Fprint(c, tt.header)
			}
			return c, err
		}
		ar := deployment.NewAddressResolver(url, deployment.NewCaller(v.SK, claims{rt}, zerolog.Nop()))
		bound, err := ar.Bind(t.Context(), v.in, deployment.Bind{Port: 1})
		if err != nil || bound.RemoteAddr.Addr().String() != tt.want {
			t.Errorf("from %s: %+v, %v; want %s", tt.from, bound, err, tt.want)
		}
		rt.CloseIdleConnections()
	}
}
