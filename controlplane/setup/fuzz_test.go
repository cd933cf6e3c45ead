package setup

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// FuzzStatement: what parses is within bounds, and says the same after another round.
func FuzzStatement(f *testing.F) {
	key, err := cipher.NewStaticKey(cipher.SecKey{31: 1})
	if err != nil {
		f.Fatal(err)
	}
	s := statement{Source: key.PubKey(), Destination: key.PubKey(), Node: key.PubKey(), Class: 7, Mux: true, TTL: 1000, Time: 1, Nonce: nonce{1}, Path: hash{1}}
	b, _, err := s.sign(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(b))
	f.Add([]byte(`{"class":-1}`))
	f.Add([]byte(`{"class":4294967296,"ttl_ms":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStatement(b)
		if err != nil {
			return
		}
		if s.Class < 0 || s.Class > 1<<32-1 || s.TTL <= 0 || s.Source.IsZero() {
			t.Fatalf("out of bounds: %+v", s)
		}
		again, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		if s2, err := parseStatement(again); err != nil || s2 != s {
			t.Fatalf("%+v became %+v, %v", s, s2, err)
		}
	})
}

// FuzzRequests gives both ends whatever a caller may send: they answer with one of our
// codes, and never panic.
func FuzzRequests(f *testing.F) {
	for i, path := range []string{pathRoute, pathReserve, pathInstall, pathAccept, pathRelease, pathHello} {
		for _, body := range []string{
			`{}`, `{"labels":["00010000"]}`, `{"from":[{"pk":"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","type":"sudph"}]}`,
			`{"ttl_ms":1,"rules":[{"in_label":"00010000","out_label":"00010000"}]}`, `{"signed":"e30=","signature":"00"}`,
		} {
			f.Add(uint8(i), []byte(path), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, path, body []byte) {
		w := newFakeWorld(t, 2, 1)
		h := w.visors[1].hop.Handler()
		if which%2 == 0 {
			h = w.nodes[0].Handler()
		}
		req, err := http.NewRequest(http.MethodPost, "http://x/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Path = string(path)
		req.RemoteAddr = place(w.keys[0], 1, "")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		var e wireError
		if rec.Code != http.StatusOK && rec.Header().Get("Content-Type") == "application/json" {
			if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Code == "" || e.Text == "" {
				t.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
		w.nodes[0].background.Wait()
	})
}

// FuzzAnswer reads what another may answer.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"error":"no","code":"no_link","at":"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","server_time":1}`))
	f.Add([]byte(`{"out_label":"00010000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var w wireError
		if json.Unmarshal(b, &w) == nil {
			if e := w.error(); len(e.Text) > maxText || e.Error() == "" {
				t.Fatalf("%+v", e)
			}
		}
		var r routeReply
		if json.Unmarshal(b, &r) == nil && r.OutLabel != 0 {
			if _, err := r.OutLabel.MarshalText(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
