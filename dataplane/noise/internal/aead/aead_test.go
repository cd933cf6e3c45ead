package aead

import (
	"bytes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
)

// seed of everything random here: a failure comes back.
var seed = [32]byte{'a', 'e', 'a', 'd'}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// random returns n random bytes that begin shift bytes after a multiple of 64, or
// as near to that as the allocator lets it, with a tag's room to spare.
func random(r *rand.ChaCha8, n, shift int) []byte {
	b := make([]byte, shift+n+TagLen)
	r.Read(b)
	return b[shift : shift+n]
}

// Both vectors of RFC 8439: section 2.8.2 and appendix A.5.
func TestVectors(t *testing.T) {
	tests := []struct{ name, key, nonce, ad, text, sealed string }{
		{
			"2.8.2", "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
			"070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
			"4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666657220796f75206f" +
				"6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069742e",
			"d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36" +
				"92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
		},
		{
			"A.5", "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
			"000000000102030405060708", "f33388860000000000004e91",
			"496e7465726e65742d4472616674732061726520647261667420646f63756d656e74732076616c696420666f722061206d6178696d756d206f6620736978206d" +
				"6f6e74687320616e64206d617920626520757064617465642c207265706c616365642c206f72206f62736f6c65746564206279206f7468657220646f63756d65" +
				"6e747320617420616e792074696d652e20497420697320696e617070726f70726961746520746f2075736520496e7465726e65742d4472616674732061732072" +
				"65666572656e6365206d6174657269616c206f7220746f2063697465207468656d206f74686572207468616e206173202fe2809c776f726b20696e2070726f67" +
				"726573732e2fe2809d",
			"64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf" +
				"332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4" +
				"b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a" +
				"0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29" +
				"a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := New([KeyLen]byte(mustHex(t, tt.key)))
			nonce, ad := mustHex(t, tt.nonce), mustHex(t, tt.ad)
			text, sealed := mustHex(t, tt.text), mustHex(t, tt.sealed)
			if got := a.Seal(nil, nonce, text, ad); !bytes.Equal(got, sealed) {
				t.Errorf("Seal = %x, want %x", got, sealed)
			}
			if got, err := a.Open(nil, nonce, sealed, ad); err != nil || !bytes.Equal(got, text) {
				t.Errorf("Open = %x, %v, want %x", got, err, text)
			}
		})
	}
}

// same seals text with both, compares, and opens it with both again, in place and
// elsewhere. shift moves the memory of what is not in place.
func same(t *testing.T, a, model cipher.AEAD, nonce, text, ad []byte, shift int) {
	t.Helper()
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s: text %d bytes, ad %d bytes, shift %d, nonce %x", what, len(text), len(ad), shift, nonce)
	}
	want := model.Seal(nil, nonce, text, ad)

	// Elsewhere, behind what dst holds already, and nothing after the tag is touched.
	room := bytes.Repeat([]byte{0xa5}, shift+len(want)+64)
	got := a.Seal(room[:shift], nonce, text, ad)
	if !bytes.Equal(got[shift:], want) {
		fail("sealed otherwise")
	}
	if !bytes.Equal(room[:shift], bytes.Repeat([]byte{0xa5}, shift)) || !bytes.Equal(room[shift+len(want):], bytes.Repeat([]byte{0xa5}, 64)) {
		fail("Seal wrote outside of dst")
	}
	room = bytes.Repeat([]byte{0xa5}, shift+len(text)+64)
	opened, err := a.Open(room[:shift], nonce, want, ad)
	if err != nil || !bytes.Equal(opened[shift:], text) {
		fail("opened otherwise")
	}
	if !bytes.Equal(room[:shift], bytes.Repeat([]byte{0xa5}, shift)) || !bytes.Equal(room[shift+len(text):], bytes.Repeat([]byte{0xa5}, 64)) {
		fail("Open wrote outside of dst")
	}

	// In place.
	buf := append(make([]byte, 0, len(want)), text...)
	if sealed := a.Seal(buf[:0], nonce, buf, ad); !bytes.Equal(sealed, want) {
		fail("sealed otherwise in place")
	}
	buf = buf[:len(want)]
	if opened, err := a.Open(buf[:0], nonce, buf, ad); err != nil || !bytes.Equal(opened, text) {
		fail("opened otherwise in place")
	}
}

func TestSameAsModel(t *testing.T) {
	r := rand.NewChaCha8(seed)
	key := [KeyLen]byte(random(r, KeyLen, 0))
	a, model := New(key), portable(key)
	nonce := random(r, NonceLen, 0)
	one := func(n, ad, shift int) {
		t.Helper()
		same(t, a, model, nonce, random(r, n, shift), random(r, ad, (shift*5)%64), shift)
	}
	for n := range 2049 {
		one(n, n*7%65, n*11%64)
	}
	for shift := range 64 {
		one(1343, 16, shift)
		one(200, 16, shift)
	}
	for ad := range 65 {
		one(1343, ad, 0)
		one(100, ad, 1)
	}
	for _, ad := range []int{100, 127, 128, 129, 1000, 4096, 70_000} {
		one(1343, ad, 3)
		one(0, ad, 3)
	}
	for range 100 {
		one(int(r.Uint64()%70_000), int(r.Uint64()%100), int(r.Uint64()%64))
		r.Read(nonce)
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	r := rand.NewChaCha8(seed)
	a := New([KeyLen]byte(random(r, KeyLen, 0)))
	nonce, ad := random(r, NonceLen, 0), random(r, 16, 0)
	for _, n := range []int{0, 1, 15, 16, 17, 64, 127, 128, 255, 256, 300, 448, 449, 1343, 1472, 1473, 5000} {
		text := random(r, n, 0)
		sealed := a.Seal(nil, nonce, text, ad)
		refused := func(what string, bad, ad []byte) {
			t.Helper()
			dst := bytes.Repeat([]byte{0xa5}, len(bad))
			if _, err := a.Open(dst[:0], nonce, bad, ad); err == nil {
				t.Fatalf("%d bytes: %s was opened", n, what)
			}
			if !bytes.Equal(dst[:n], make([]byte, n)) {
				t.Fatalf("%d bytes: %s: dst was not cleared", n, what)
			}
		}
		for bit := range 8 * TagLen {
			bad := bytes.Clone(sealed)
			bad[n+bit/8] ^= 1 << (bit % 8)
			refused(fmt.Sprintf("bit %d of the tag", bit), bad, ad)
		}
		for at := 0; at < n; at += 1 + n/50 {
			bad := bytes.Clone(sealed)
			bad[at] ^= 0x10
			refused(fmt.Sprintf("byte %d", at), bad, ad)
		}
		for at := range ad {
			bad := bytes.Clone(ad)
			bad[at] ^= 0x80
			refused(fmt.Sprintf("byte %d of the associated data", at), sealed, bad)
		}
		refused("without associated data", sealed, nil)

		inPlace := bytes.Clone(sealed)
		inPlace[n] ^= 1
		if _, err := a.Open(inPlace[:0], nonce, inPlace, ad); err == nil || !bytes.Equal(inPlace[:n], make([]byte, n)) {
			t.Fatalf("%d bytes in place: %v, %x", n, err, inPlace[:n])
		}
	}
	for n := range TagLen {
		if _, err := a.Open(nil, nonce, make([]byte, n), nil); err == nil {
			t.Errorf("%d bytes were opened", n)
		}
	}
}

func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestMisusePanics(t *testing.T) {
	a := New([KeyLen]byte{})
	if a.NonceSize() != NonceLen || a.Overhead() != TagLen {
		t.Errorf("NonceSize %d, Overhead %d", a.NonceSize(), a.Overhead())
	}
	nonce := make([]byte, NonceLen)
	buf := make([]byte, 1000)
	sealed := a.Seal(nil, nonce, buf[:100], nil)
	copy(buf, sealed)
	for name, f := range map[string]func(){
		"long nonce, Seal":        func() { a.Seal(nil, make([]byte, NonceLen+1), nil, nil) },
		"short nonce, Open":       func() { _, _ = a.Open(nil, make([]byte, NonceLen-1), sealed, nil) },
		"Seal one byte ahead":     func() { a.Seal(buf[:1], nonce, buf[:100], nil) },
		"Seal one byte behind":    func() { a.Seal(buf[:0], nonce, buf[1:100], nil) },
		"Seal: tag on the text":   func() { a.Seal(buf[:10], nonce, buf[125:225], nil) },
		"Open one byte ahead":     func() { _, _ = a.Open(buf[:1], nonce, buf[:116], nil) },
		"Open one byte behind":    func() { copy(buf[1:], sealed); _, _ = a.Open(buf[:0], nonce, buf[1:117], nil) },
		"Seal onto its ad":        func() { a.Seal(buf[:0], nonce, buf[200:300], buf[110:120]) },
		"Open onto its ad":        func() { _, _ = a.Open(buf[:0], nonce, sealed, buf[50:60]) },
		"Open: last byte on text": func() { copy(buf[99:], sealed); _, _ = a.Open(buf[:0], nonce, buf[99:215], nil) },
	} {
		if panics(f) == nil {
			t.Errorf("%s: no panic", name)
		}
	}
	for name, f := range map[string]func(){
		"ad after":    func() { a.Seal(buf[:0], nonce, buf[:100], buf[116:126]) },
		"just after":  func() { a.Seal(buf[:0], nonce, buf[116:216], nil) },
		"just before": func() { a.Seal(buf[:100], nonce, buf[:100], nil) },
		"nothing":     func() { a.Seal(buf[:1], nonce, buf[5:5], nil) },
	} {
		if v := panics(f); v != nil {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// Whatever a peer sends, both give the same verdict and the same text.
func FuzzSameAsModel(f *testing.F) {
	f.Add(make([]byte, 44), []byte("text"), []byte("ad"), 3)
	f.Add(bytes.Repeat([]byte{0xff}, 44), bytes.Repeat([]byte{0xff}, 300), []byte{}, 17)
	f.Add(make([]byte, 44), make([]byte, 1472), make([]byte, 33), 0)
	f.Fuzz(func(t *testing.T, secret, text, ad []byte, flip int) {
		secret = append(secret, make([]byte, KeyLen+NonceLen)...)
		key, nonce := [KeyLen]byte(secret), secret[KeyLen:][:NonceLen]
		a, model := New(key), portable(key)
		same(t, a, model, nonce, text, ad, len(text)%64)
		sealed := a.Seal(nil, nonce, text, ad)
		if flip > 0 {
			sealed[flip%len(sealed)] ^= 1 << (flip % 8)
		}
		got, err := a.Open(nil, nonce, sealed, ad)
		want, wantErr := model.Open(nil, nonce, sealed, ad)
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("Open = %x, %v, want %x, %v", got, err, want, wantErr)
		}
	})
}

var sink []byte // what benchmarks make, or the compiler drops it (golang/go#77654)

var sizes = []int{16, 64, 256, 1343, 1400, 4070, 8192, 65000}

func BenchmarkSeal(b *testing.B) {
	for _, n := range sizes {
		bench(b, n, func(a cipher.AEAD, nonce, ad []byte) func() {
			buf := make([]byte, n+TagLen)
			return func() { sink = a.Seal(buf[:0], nonce, buf[:n], ad) }
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range sizes {
		bench(b, n, func(a cipher.AEAD, nonce, ad []byte) func() {
			// Not in place: what has been opened cannot be opened again.
			sealed := a.Seal(nil, nonce, make([]byte, n), ad)
			buf := make([]byte, n)
			return func() {
				var err error
				if sink, err = a.Open(buf[:0], nonce, sealed, ad); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// bench measures what this processor gets and x/crypto beside it.
func bench(b *testing.B, n int, prepare func(a cipher.AEAD, nonce, ad []byte) func()) {
	var key [KeyLen]byte
	for _, which := range []struct {
		name string
		aead cipher.AEAD
	}{{"new", New(key)}, {"xcrypto", portable(key)}} {
		b.Run(fmt.Sprintf("%d/%s", n, which.name), func(b *testing.B) {
			op := prepare(which.aead, make([]byte, NonceLen), make([]byte, 16))
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				op()
			}
		})
	}
}
