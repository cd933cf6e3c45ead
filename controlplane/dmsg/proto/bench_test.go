package proto

import (
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/noise"
)

// BenchmarkDial is all the cryptography of one stream, by party: what the dialer
// does before it sends, the relay with the request, the listener, the relay with
// the response, the dialer at the end.
func BenchmarkDial(b *testing.B) {
	client, server := pair(b)
	alice, bob := identity(b, 0x11), identity(b, 0x22)
	var spent [5]time.Duration
	b.ReportAllocs()
	for b.Loop() {
		at := time.Now()
		lap := func(i int) {
			now := time.Now()
			spent[i] += now.Sub(at)
			at = now
		}
		in, msg1, err := alice.Initiate(bob.PubKey())
		must(b, err)
		r := request(alice, bob)
		r.NoiseMsg = msg1
		req, err := alice.SignRequest(r)
		must(b, err)
		obj, err := client.Seal(nil, req)
		must(b, err)
		lap(0)
		plain, err := server.Open(obj[2:])
		must(b, err)
		_, err = Signed(plain).Request()
		must(b, err)
		_, err = server.Seal(obj[:0], plain)
		must(b, err)
		lap(1)
		got, err := req.Request()
		must(b, err)
		msg2, _, _, err := bob.Respond(got.Src.PK, got.NoiseMsg)
		must(b, err)
		resp, err := bob.SignResponse(&Response{ReqHash: req.Hash(), Accepted: true, NoiseMsg: msg2})
		must(b, err)
		lap(2)
		_, err = resp.Response(req.Hash(), bob.PubKey())
		must(b, err)
		lap(3)
		answer, err := resp.Response(req.Hash(), bob.PubKey())
		must(b, err)
		_, _, err = in.Finish(answer.NoiseMsg)
		must(b, err)
		lap(4)
	}
	for i, name := range []string{"dialer-ask-ns", "relay-ask-ns", "listener-ns", "relay-answer-ns", "dialer-end-ns"} {
		b.ReportMetric(float64(spent[i].Nanoseconds())/float64(b.N), name)
	}
}

// BenchmarkSession is the cryptography of both sides of a session handshake.
func BenchmarkSession(b *testing.B) {
	client, server := identity(b, 0x11), identity(b, 0x22)
	b.ReportAllocs()
	for b.Loop() {
		i, err := noise.NewHandshake(noise.Config{Pattern: noise.XK, Initiator: true, Static: client.static, Peer: server.PubKey()})
		must(b, err)
		r, err := noise.NewHandshake(noise.Config{Pattern: noise.XK, Static: server.static})
		must(b, err)
		for from, to := i, r; !to.Finished(); from, to = to, from {
			msg, err := from.WriteMessage(nil, nil)
			must(b, err)
			_, err = to.ReadMessage(nil, msg)
			must(b, err)
		}
	}
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkDecodeRequest(b *testing.B) {
	gob := golden(b).Request
	b.ReportAllocs()
	for b.Loop() {
		_, err := decodeRequest(gob)
		must(b, err)
	}
}

func BenchmarkEncodeRequest(b *testing.B) {
	r := request(identity(b, 0x11), identity(b, 0x22))
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRequest(buf[:0], r)
	}
}

// BenchmarkFrames seals and opens 64 KiB.
func BenchmarkFrames(b *testing.B) {
	as, _, _, br := kk(b)
	data, buf := make([]byte, 65536), make([]byte, 0, 70000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		buf = as.AppendFrames(buf[:0], data)
		for rest := buf; len(rest) > 0; {
			n := 2 + int(rest[0])<<8 + int(rest[1])
			_, err := br.Open(rest[2:n])
			must(b, err)
			rest = rest[n:]
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	r := NewReplay(time.Minute, 1<<16, time.Now)
	var n uint64
	b.ReportAllocs()
	for b.Loop() {
		n++
		must(b, r.Check(hashOf(n)))
	}
}
