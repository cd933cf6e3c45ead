package cipher

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"
)

func TestSignVerify(t *testing.T) {
	pk, sk := GenerateKeyPair()
	other, _ := GenerateKeyPair()
	for _, payload := range []string{"", "hello", "another"} {
		sig, err := Sign(sk, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify(pk, sig, []byte(payload)); err != nil {
			t.Errorf("%q: %v", payload, err)
		}
		if err := Verify(pk, sig, []byte(payload+".")); !errors.Is(err, ErrSigMismatch) && !errors.Is(err, ErrSigFormat) {
			t.Errorf("%q: another payload: %v", payload, err)
		}
		if err := Verify(other, sig, []byte(payload)); !errors.Is(err, ErrSigMismatch) {
			t.Errorf("%q: another key: %v", payload, err)
		}
	}
}

// Every single bit of a signature matters, the recovery id's among them.
func TestVerifyBitFlips(t *testing.T) {
	pk, sk := GenerateKeyPair()
	payload := []byte("payload")
	sig, err := Sign(sk, payload)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * SigLen {
		bad := sig
		bad[i/8] ^= 1 << (i % 8)
		if Verify(pk, bad, payload) == nil {
			t.Errorf("bit %d flipped and still valid", i)
		}
	}
}

func TestVerifySentinels(t *testing.T) {
	pk, sk := GenerateKeyPair()
	digest := sha256.Sum256([]byte("x"))
	sig, err := SignDigest(sk, digest)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := new(big.Int).SetString(groupOrder, 16)
	mirrored := sig // n − S with the parity bit flipped: what a malleable check would take
	s := new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:64]))
	s.FillBytes(mirrored[32:64])
	mirrored[64] ^= 1
	edit := func(from, to int, b byte) Sig {
		out := sig
		for i := from; i < to; i++ {
			out[i] = b
		}
		return out
	}
	tests := []struct {
		name   string
		pk     PubKey
		sig    Sig
		digest [32]byte
		want   error
	}{
		{"good", pk, sig, digest, nil},
		{"mirrored", pk, mirrored, digest, ErrSigHighS},
		{"recovery id 4", pk, edit(64, 65, 4), digest, ErrSigFormat},
		{"recovery id that wraps the compact form's byte", pk, edit(64, 65, 0xff), digest, ErrSigFormat},
		{"recovery id with R + n ≥ p", pk, edit(64, 65, 2), digest, ErrSigFormat},
		{"R zero", pk, edit(0, 32, 0), digest, ErrSigFormat},
		{"R too big", pk, edit(0, 32, 0xff), digest, ErrSigFormat},
		{"S zero", pk, edit(32, 64, 0), digest, ErrSigFormat},
		{"S too big", pk, edit(32, 64, 0xff), digest, ErrSigFormat},
		{"all zero", pk, Sig{}, digest, ErrSigFormat},
		{"zero key", PubKey{}, sig, digest, ErrZeroKey},
		{"zero digest", pk, sig, [32]byte{}, ErrZeroDigest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := VerifyDigest(tt.pk, tt.sig, tt.digest)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := SignDigest(sk, [32]byte{}); !errors.Is(err, ErrZeroDigest) {
		t.Errorf("signing the zero digest: %v", err)
	}
	if _, err := Sign(SecKey{}, nil); !errors.Is(err, ErrZeroKey) {
		t.Errorf("signing with no key: %v", err)
	}
}

func TestSignaturesHaveLowS(t *testing.T) {
	_, sk := GenerateKeyPair()
	n, _ := new(big.Int).SetString(groupOrder, 16)
	half := new(big.Int).Rsh(n, 1)
	for i := range 32 {
		sig, err := Sign(sk, []byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		if s := new(big.Int).SetBytes(sig[32:64]); s.Cmp(half) > 0 {
			t.Fatalf("payload %d: S is above n/2", i)
		}
	}
}

func FuzzVerify(f *testing.F) {
	pk, sk := GenerateKeyPair()
	sig, _ := Sign(sk, []byte("seed"))
	f.Add(pk[:], sig[:], []byte("seed"))
	f.Add(pk[:], make([]byte, SigLen), []byte{})
	f.Fuzz(func(t *testing.T, key, signature, payload []byte) {
		var pk PubKey
		var sig Sig
		copy(pk[:], key)
		copy(sig[:], signature)
		err := Verify(pk, sig, payload)
		signer, rerr := Recover(sig, sha256.Sum256(payload))
		if (err == nil) != (rerr == nil && signer == pk) {
			t.Fatalf("Verify says %v, Recover %s, %v", err, signer, rerr)
		}
		if rerr == nil && signer.Validate() != nil {
			t.Fatalf("recovered %s, which is no key", signer)
		}
	})
}
