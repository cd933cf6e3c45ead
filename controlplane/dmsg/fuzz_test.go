package dmsg

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// FuzzStreamRead hands arbitrary bytes to the accepting end of a stream, behind one good
// frame. Nobody but the peer can make a frame, so nothing but the good one's plaintext
// comes out, in one piece or byte by byte, and then an error that stays.
func FuzzStreamRead(f *testing.F) {
	for _, seed := range []string{
		"", "\x00", "\x00\x00", "\x00\x00\x00\x00", "\x00\x18", "\x00\x17", "\x0f\xfe", "\x0f\xff", "\xff\xff",
		"\x00\x18\x00\x00\x00\x00\x00\x00\x00\x02" + "0123456789abcdef",
		"\x00\x19\xff\xff\xff\xff\xff\xff\xff\xff" + "0123456789abcdefg",
	} {
		f.Add([]byte(seed), uint16(len(seed)))
	}
	a, b := rawPair(f)
	f.Fuzz(func(t *testing.T, raw []byte, split uint16) {
		mux, far := yamuxPair(t)
		r := &Stream{mux: far, sess: b.sess, accepted: true, release: func() {}}
		r.r.recv, r.w.send = b.r.recv, b.w.send
		r.SetDeadline(time.Now().Add(10 * time.Second))
		good := a.frame("good")
		n := min(int(split), len(raw))
		for _, part := range [][]byte{good, raw[:n], raw[n:]} {
			if _, err := mux.Write(part); err != nil {
				return // a spoilt stream is reset
			}
		}
		mux.CloseWrite()
		got, err := io.ReadAll(r)
		if !bytes.Equal(got, []byte("good")) && !errors.Is(err, yamux.ErrReset) {
			t.Fatalf("read %q, %v", got, err)
		}
		if err == nil && !onlyPings(raw) {
			t.Fatalf("%x passed for a clean end", raw)
		}
	})
}

// onlyPings reports whether raw is nothing but pings.
func onlyPings(raw []byte) bool {
	return len(raw)%2 == 0 && len(bytes.Trim(raw, "\x00")) == 0
}
