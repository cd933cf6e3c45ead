package deployment

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys returns the n-th key pair of a test.
func keys(n byte) (cipher.PubKey, cipher.SecKey) {
	sk := cipher.SecKey{31: n}
	pk, err := sk.PubKey()
	if err != nil {
		panic(err)
	}
	return pk, sk
}

// serve runs h and returns its URL and a caller.
func serve(t *testing.T, h http.HandlerFunc) (string, *Caller) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	rt := NewRoundTripper(nil)
	t.Cleanup(rt.CloseIdleConnections)
	_, sk := keys(1)
	return s.URL, NewCaller(sk, rt, zerolog.Nop())
}

// answer serves one answer to everything.
func answer(status int, header, value, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}
