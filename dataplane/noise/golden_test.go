package noise

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// hexBytes is a byte string written as hex digits in JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// A transcript is a handshake between static keys 11×32 and 22×32 with ephemeral
// keys 33×32 and 44×32; seal1 and seal2 are "hello" under cs1 and cs2, counter 1.
type transcript struct {
	Pattern  string
	Prologue hexBytes
	Payloads []hexBytes
	Messages []hexBytes
	Hash     hexBytes
	CS1, CS2 hexBytes
	Seal1    hexBytes
	Seal2    hexBytes
}

type sealVector struct {
	Key, AD, Plain, Sealed hexBytes
	Prefix                 uint32
	Counter                uint64
}

type goldenFile struct {
	Source      string
	Transcripts []transcript
	Seals       []sealVector
	Cookie      struct {
		Address                                                   string
		Responder, Body, Secret, Nonce, Reply, MAC1, MAC2, Cookie hexBytes
	}
}

// golden reads testdata/dmsg.json (the deployed software) or testdata/vectors.json
// (testdata/vectors.py, written from the specifications).
func golden(t testing.TB, path string) (f goldenFile) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}

func static(t testing.TB, b byte) *cipher.StaticKey {
	t.Helper()
	s, err := cipher.NewStaticKey(cipher.SecKey(bytes.Repeat([]byte{b}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fixed(b byte) *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte{b}, 32)) }

var patterns = map[string]Pattern{"IK": IK, "KK": KK, "XK": XK} // never written

// pair makes the two ends that the vectors were made with.
func pair(t testing.TB, p Pattern, prologue []byte) (a, b *Handshake) {
	t.Helper()
	sa, sb := static(t, 0x11), static(t, 0x22)
	ca := Config{Pattern: p, Initiator: true, Prologue: prologue, Static: sa, Peer: sb.PubKey(), Rand: fixed(0x33)}
	cb := Config{Pattern: p, Prologue: prologue, Static: sb, Rand: fixed(0x44)}
	if p == KK {
		cb.Peer = sa.PubKey()
	}
	a, err := NewHandshake(ca)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = NewHandshake(cb); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestGoldenTranscripts(t *testing.T) {
	for _, path := range []string{"testdata/dmsg.json", "testdata/vectors.json"} {
		f := golden(t, path)
		if len(f.Transcripts) == 0 {
			t.Fatalf("%s: no transcripts", path)
		}
		for _, v := range f.Transcripts {
			t.Run(path+"/"+v.Pattern, func(t *testing.T) { checkTranscript(t, v) })
		}
	}
}

func checkTranscript(t *testing.T, v transcript) {
	writer, reader := pair(t, patterns[v.Pattern], v.Prologue)
	a, b := writer, reader
	for i, want := range v.Messages {
		if a.Finished() || b.Finished() {
			t.Fatalf("finished before message %d", i+1)
		}
		msg, err := writer.WriteMessage(nil, v.Payloads[i])
		if err != nil {
			t.Fatalf("write message %d: %v", i+1, err)
		}
		if !bytes.Equal(msg, want) {
			t.Fatalf("message %d = %x, want %x", i+1, msg, want)
		}
		payload, err := reader.ReadMessage(nil, msg)
		if err != nil {
			t.Fatalf("read message %d: %v", i+1, err)
		}
		if !bytes.Equal(payload, v.Payloads[i]) {
			t.Errorf("payload %d = %x, want %x", i+1, payload, v.Payloads[i])
		}
		writer, reader = reader, writer
	}
	ka, erra := a.Keys()
	kb, errb := b.Keys()
	if erra != nil || errb != nil {
		t.Fatalf("keys: %v, %v", erra, errb)
	}
	if ka != kb.Swapped() {
		t.Error("the two ends have different keys")
	}
	if !bytes.Equal(ka.Hash[:], v.Hash) {
		t.Errorf("h = %x, want %x", ka.Hash, v.Hash)
	}
	if a.PeerStatic() != static(t, 0x22).PubKey() || b.PeerStatic() != static(t, 0x11).PubKey() {
		t.Error("the two ends do not know each other")
	}
	if v.CS1 != nil && (!bytes.Equal(ka.Send[:], v.CS1) || !bytes.Equal(ka.Recv[:], v.CS2)) {
		t.Errorf("initiator's keys = %x, %x, want %x, %x", ka.Send[:], ka.Recv[:], v.CS1, v.CS2)
	}
	var n Nonce
	if got := NewSendKey(ka.Send).Seal(nil, []byte("hello"), nil, &n, 0, 1); !bytes.Equal(got, v.Seal1) {
		t.Errorf("cs1 seal = %x, want %x", got, v.Seal1)
	}
	if got := NewSendKey(kb.Send).Seal(nil, []byte("hello"), nil, &n, 0, 1); !bytes.Equal(got, v.Seal2) {
		t.Errorf("cs2 seal = %x, want %x", got, v.Seal2)
	}
}

func TestGoldenSeals(t *testing.T) {
	f := golden(t, "testdata/vectors.json")
	if len(f.Seals) == 0 {
		t.Fatal("no vectors")
	}
	var n Nonce
	for i, v := range f.Seals {
		got := NewSendKey([32]byte(v.Key)).Seal(nil, v.Plain, v.AD, &n, v.Prefix, v.Counter)
		if !bytes.Equal(got, v.Sealed) {
			t.Errorf("seal %d = %x, want %x", i, got, v.Sealed)
		}
		plain, err := NewRecvKey([32]byte(v.Key)).Open(nil, v.Sealed, v.AD, &n, v.Prefix, v.Counter)
		if err != nil || !bytes.Equal(plain, v.Plain) {
			t.Errorf("open %d = %x, %v, want %x", i, plain, err, v.Plain)
		}
	}
}
