package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// signed makes the request with which pk would have its transport to m signed.
func signed(t *testing.T, m *Manager, sk cipher.SecKey, id cipher.PubKey, typ string) settleRequest {
	t.Helper()
	pk, err := sk.PubKey()
	must(t, err)
	sig, err := cipher.Sign(sk, deployment.NewTransport(pk, m.pk, typ, "").SignedBytes())
	must(t, err)
	return settleRequest{Deployment: memberTag(id, pk, m.pk), Type: typ, Label: LabelUser, Signature: sig}
}

// Nothing is signed that is not so.
func TestSign(t *testing.T) {
	inBubble(t, Settings{}, func(t *testing.T, b *bubble, sv *services) {
		id := b.members[0].ID
		pk, sk := b.neighbour(sv, "10.0.0.1:1")
		must(t, b.Ensure(t.Context(), pk))
		strangerPK, stranger := cipher.GenerateKeyPair()
		other, _ := cipher.GenerateKeyPair()
		good := signed(t, b.Manager, sk, id, "stcpr")
		forged := good
		forged.Signature = signed(t, b.Manager, stranger, id, "stcpr").Signature
		label := good
		label.Label = "My laptop"
		for _, tt := range []struct {
			name string
			pk   cipher.PubKey
			q    settleRequest
			code string
		}{
			{"no link at all", strangerPK, signed(t, b.Manager, stranger, id, "stcpr"), codeNoLink},
			{"no link of that type", pk, signed(t, b.Manager, sk, id, "sudph"), codeNoLink},
			{"another deployment", pk, signed(t, b.Manager, sk, other, "stcpr"), codeNotMember},
			{"somebody else's tag", strangerPK, good, codeNotMember},
			{"somebody else's signature", pk, forged, codeBad},
			{"no such type", pk, signed(t, b.Manager, sk, id, "pigeon"), codeBad},
			{"bad label", pk, label, codeBad},
			{"nothing", pk, settleRequest{}, codeBad},
		} {
			if sig, code, err := b.Manager.sign(tt.pk, tt.q); sig != nil || code != tt.code || err == nil {
				t.Errorf("%s: %v, %q, %v; want %q", tt.name, sig, code, err, tt.code)
			}
		}
		sig, code, err := b.Manager.sign(pk, good)
		if err != nil || code != "" {
			t.Fatalf("%q, %v", code, err)
		}
		e := deployment.NewTransport(pk, b.pk, "stcpr", "")
		if err := cipher.Verify(b.pk, *sig, e.SignedBytes()); err != nil {
			t.Errorf("our signature: %v", err)
		}
		if got := b.members[0]; !slices.Contains(b.find(pk).Deployments, got.ID) {
			t.Errorf("%+v", b.find(pk))
		}
	})
}

// Over the wire: bodies that are none, and too large ones.
func TestSettleHTTP(t *testing.T) {
	n, s := newTestNetwork(t), newServices()
	id := deploymentKey()
	a, b := n.start(options{noTCP: true}), n.start(options{noTCP: true}, in(id, s))
	a.ensure(b.pk)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return a.stack.Dial(ctx, b.pk, SettlePort)
	}}
	defer tr.CloseIdleConnections()
	for _, tt := range []struct {
		body string
		want int
	}{
		{"", http.StatusBadRequest}, {"{", http.StatusBadRequest}, {`{"deployment":"x","y":1}`, http.StatusBadRequest},
		{strings.Repeat("x", 2*maxSettle), http.StatusBadRequest}, {`{"type":"stcpr"}`, http.StatusForbidden},
	} {
		req, err := http.NewRequestWithContext(testCtx(t), http.MethodPost, "http://b/settle", strings.NewReader(tt.body))
		must(t, err)
		resp, err := tr.RoundTrip(req)
		must(t, err)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%.40q: %s, %s", tt.body, resp.Status, body)
		}
	}
	reply, err := a.askToSettle(testCtx(t), b.pk, settleRequest{Deployment: "x", Type: "sudph"})
	if err != nil || reply.Code != codeNotMember {
		t.Errorf("%+v, %v", reply, err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.askToSettle(gone, b.pk, settleRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
