package relay

import (
	"math/rand/v2"
	"testing"

	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
)

// step is one step of a script.
func step(who int, p []byte) []byte {
	return append([]byte{byte(len(p)<<1 | who)}, p...)
}

// randomScript makes frames that are mostly allowed, in pieces.
func randomScript(rng *rand.Rand) []byte {
	streams := [2][]uint32{{1, 1, 1, 2, 3, 5}, {1, 1, 2, 2, 2, 3}}
	var bytes [2][]byte
	var script []byte
	for range 1 + rng.IntN(60) {
		who := rng.IntN(2)
		h := yamux.Header{StreamID: streams[who][rng.IntN(6)]}
		var body []byte
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			body = make([]byte, rng.IntN(200))
			for i := range body {
				body[i] = byte(rng.Uint32())
			}
			h.Length = uint32(len(body))
		case 4, 5:
			h.Type, h.Length = update, rng.Uint32()>>rng.IntN(32)
		case 6:
			h.Type = yamux.TypePing
			h.Flags = syn
		case 7:
			h.Type, h.StreamID, h.Flags = update, uint32(5+2*rng.IntN(3)), syn
		case 8:
			h.Type, h.Flags = update, fin
		case 9:
			if rng.IntN(4) == 0 {
				h.Type, h.Flags = yamux.Type(rng.IntN(4)), yamux.Flags(rng.IntN(16))
				h.Length = uint32(rng.IntN(3))
			}
		}
		bytes[who] = append(append(bytes[who], frameBytes(h)...), body...)
		for len(bytes[who]) > 0 && rng.IntN(3) > 0 {
			n := min(1+rng.IntN(127), len(bytes[who]))
			script = append(script, step(who, bytes[who][:n])...)
			bytes[who] = bytes[who][n:]
		}
	}
	return script
}

func TestAgainstModel(t *testing.T) {
	id := identity(t)
	hop := hopFor(t, id)
	const seed = 20
	rng := rand.New(rand.NewPCG(seed, seed))
	for i := range 500 {
		compare(t, id, hop, randomScript(rng))
		if t.Failed() {
			t.Fatalf("script %d of seed %d", i, seed)
		}
	}
}

func FuzzSwitch(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		f.Add(randomScript(rng))
	}
	f.Add(step(0, frameBytes(yamux.Header{Type: data, StreamID: 1, Length: 1<<32 - 1})))
	f.Add(step(1, frameBytes(yamux.Header{Type: update, Flags: syn, StreamID: 2})))
	id := identity(f)
	hop := hopFor(f, id)
	f.Fuzz(func(t *testing.T, script []byte) { compare(t, id, hop, script) })
}
