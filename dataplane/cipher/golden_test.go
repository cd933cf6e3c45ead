package cipher

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

type keyVector struct {
	Sec, Pub, Label, Overlay, ECDH string
	ECDHWith                       string `json:"ecdh_with"`
}

type goldenFile struct {
	Source     string
	Keys       []keyVector
	Signatures []struct{ Pub, Payload, Sig string }
}

func loadGolden(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func secKey(t testing.TB, s string) SecKey {
	t.Helper()
	sk, err := ParseSecKeyText(s)
	if err != nil {
		t.Fatalf("ParseSecKeyText: %v", err)
	}
	return sk
}

func pubKey(t testing.TB, s string) PubKey {
	t.Helper()
	pk, err := ParsePubKeyText(s)
	if err != nil {
		t.Fatalf("ParsePubKeyText(%s): %v", s, err)
	}
	return pk
}

func TestGoldenKeys(t *testing.T) {
	for _, path := range []string{"testdata/vectors.json", "testdata/dmsg.json"} {
		var f struct{ Keys []keyVector }
		loadGolden(t, path, &f)
		if len(f.Keys) == 0 {
			t.Fatalf("%s: no keys", path)
		}
		for _, v := range f.Keys {
			sk, want := secKey(t, v.Sec), pubKey(t, v.Pub)
			pk, err := sk.PubKey()
			if err != nil || pk != want {
				t.Errorf("PubKey of %s = %v, %v, want %s", v.Sec, pk, err, v.Pub)
			}
			if v.Label == "" {
				continue
			}
			if got := pk.Label(); got != v.Label {
				t.Errorf("Label of %s = %s, want %s", pk, got, v.Label)
			}
			if got := pk.OverlayAddr().String(); got != v.Overlay {
				t.Errorf("OverlayAddr of %s = %s, want %s", pk, got, v.Overlay)
			}
			checkECDH(t, v.Sec, v.ECDHWith, v.ECDH)
		}
	}
}

func TestGoldenDmsgECDH(t *testing.T) {
	var f struct {
		ECDH struct{ Sec, Pub, Secret string }
	}
	loadGolden(t, "testdata/dmsg.json", &f)
	checkECDH(t, f.ECDH.Sec, f.ECDH.Pub, f.ECDH.Secret)
}

// checkECDH compares the plain and the blinded multiplication with want.
func checkECDH(t *testing.T, sec, pub, want string) {
	t.Helper()
	sk, pk := secKey(t, sec), pubKey(t, pub)
	if got, err := ECDH(sk, pk); err != nil || hex.EncodeToString(got[:]) != want {
		t.Errorf("ECDH(%s, %s) = %x, %v, want %s", sec, pub, got, err, want)
	}
	static, err := NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := static.ECDH(pk); err != nil || hex.EncodeToString(got[:]) != want {
		t.Errorf("blinded ECDH(%s, %s) = %x, %v, want %s", sec, pub, got, err, want)
	}
}

func TestGoldenSignatures(t *testing.T) {
	var f goldenFile
	loadGolden(t, "testdata/dmsg.json", &f)
	if len(f.Signatures) == 0 {
		t.Fatal("no signatures")
	}
	for _, v := range f.Signatures {
		var sig Sig
		if err := sig.UnmarshalText([]byte(v.Sig)); err != nil {
			t.Fatal(err)
		}
		if err := Verify(pubKey(t, v.Pub), sig, []byte(v.Payload)); err != nil {
			t.Errorf("Verify of %.20q: %v", v.Payload, err)
		}
	}
}
