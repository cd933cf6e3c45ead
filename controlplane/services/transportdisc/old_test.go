package transportdisc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/servicetest"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// A oldVisor speaks as deployed visors do.
type oldVisor struct {
	*person
	rt    http.RoundTripper
	nonce uint64
}

// call makes a request: with the nonce that it has and, where that is refused, once
// more with the one that it asks for.
func (o *oldVisor) call(t *testing.T, method, path string, in any) (status int, answer string) {
	t.Helper()
	body := []byte{}
	if in != nil {
		body, _ = json.Marshal(in)
	}
	for range 2 {
		sig, err := cipher.Sign(o.sk, strconv.AppendUint(bytes.Clone(body), o.nonce, 10))
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), method, o.url+path, bytes.NewReader(body))
		req.Header.Set("SW-Public", o.pk.String())
		req.Header.Set("SW-Nonce", strconv.FormatUint(o.nonce, 10))
		req.Header.Set("SW-Sig", sig.String())
		resp, err := o.rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		status, answer = resp.StatusCode, string(b)
		if status == 200 {
			o.nonce++ // as they do: on 200 alone
		}
		if status != 401 {
			return status, answer
		}
		var next struct {
			Edge cipher.PubKey `json:"edge"`
			Next uint64        `json:"next_nonce"`
		}
		if err := o.caller.Ask(t.Context(), o.url, "/security/nonces/"+o.pk.String(), &next); err != nil || next.Edge != o.pk {
			t.Fatal(next, err)
		}
		o.nonce = next.Next
	}
	return status, answer
}

func TestDeployedVisor(t *testing.T) {
	r := start(t, openStore(t, ""), nil)
	a, b, c := r.visor(1), r.visor(2), r.visor(3)
	old := &oldVisor{person: a, rt: r.rt}
	e := entry(t, a, b, "stcpr", a, b)
	status, answer := old.call(t, "POST", "/transports/", []deployment.SignedTransport{e})
	var back []deployment.SignedTransport
	if err := json.Unmarshal([]byte(answer), &back); status != 201 || err != nil || len(back) != 1 || back[0].Transport != e.Transport || back[0].Registered == 0 {
		t.Fatalf("%d %s", status, answer)
	}
	// Neither edge says anything more, and it is listed.
	if !listed(t, b, e.ID) {
		t.Error("not listed by its edges")
	}
	got, err := c.Transport(t.Context(), e.ID)
	if err != nil || got.Signatures != e.Signatures {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string][]deployment.SignedTransport{
		"signed by one":  {entry(t, a, c, "stcpr", a)},
		"of others":      {entry(t, b, c, "stcpr", b, c)},
		"one of two bad": {entry(t, a, c, "stcpr", a, c), entry(t, b, c, "stcpr", b, c)},
	} {
		if status, answer := old.call(t, "POST", "/transports/", bad); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if _, err := c.Transport(t.Context(), deployment.NewTransportID(a.pk, c.pk, "stcpr")); !errors.Is(err, deployment.ErrNotFound) {
		t.Errorf("one of two was taken: %v", err)
	}
	stranger := &oldVisor{person: c, rt: r.rt}
	if status, _ := stranger.call(t, "DELETE", "/transports/id:"+e.ID.String(), nil); status != 403 {
		t.Errorf("a stranger deletes: %d", status)
	}
	if status, answer := old.call(t, "DELETE", "/transports/id:"+e.ID.String(), nil); status != 200 || answer != `"transport deleted"` {
		t.Errorf("delete: %d %s", status, answer)
	}
	if _, err := c.Transport(t.Context(), e.ID); !errors.Is(err, deployment.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	// It says so the second time, as the deployed service does.
	if status, _ := old.call(t, "DELETE", "/transports/id:"+e.ID.String(), nil); status != 404 {
		t.Errorf("delete again: %d", status)
	}
}

// What deployed visors register ends after a day, whether or not they are there.
func TestDeployedVisorExpires(t *testing.T) {
	t.Parallel()
	r := start(t, openStore(t, ""), func(o *Options) { o.OldTTL = time.Second })
	a, b := r.visor(1), r.visor(2)
	old := &oldVisor{person: a, rt: r.rt}
	e := entry(t, a, b, "stcpr", a, b)
	if status, answer := old.call(t, "POST", "/transports/", []deployment.SignedTransport{e}); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	servicetest.Eventually(t, "gone", func() bool { return !listed(t, a, e.ID) })
}
