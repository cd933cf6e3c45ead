package cipher

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// Coordinates for bad keys: the field prime is 2^256 - 2^32 - 977; x = 5 has no
// point on y² = x³ + 7.
const (
	fieldPrime = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"
	maxX       = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	xOne       = "0000000000000000000000000000000000000000000000000000000000000001"
	xFive      = "0000000000000000000000000000000000000000000000000000000000000005"
	// p+1 is the non-canonical twin of x = 1, which is on the curve.
	xOneTwin = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30"
)

func TestParsePubKeyText(t *testing.T) {
	tests := []struct {
		name, text string
		want       error
	}{
		{"on the curve, even", "02" + xOne, nil},
		{"on the curve, odd", "03" + xOne, nil},
		{"not on the curve", "02" + xFive, ErrNotOnCurve},
		{"x is p", "02" + fieldPrime, ErrNotCanonical},
		{"x is p+1", "03" + xOneTwin, ErrNotCanonical},
		{"x is 2^256-1", "02" + maxX, ErrNotCanonical},
		{"zero", strings.Repeat("0", 66), ErrZeroKey},
		{"prefix 00", "00" + xOne, ErrKeyPrefix},
		{"prefix 04", "04" + xOne, ErrKeyPrefix},
		{"hybrid prefix", "06" + xOne, ErrKeyPrefix},
		{"upper case", "02" + strings.ToUpper(strings.Repeat("0", 62)+"AB"), ErrNotOnCurve},
		{"empty", "", ErrKeyLength},
		{"one digit short", "02" + xOne[1:], ErrKeyLength},
		{"one byte long", "02" + xOne + "00", ErrKeyLength},
		{"not hex", "0x" + xOne, ErrKeyText},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pk, err := ParsePubKeyText(tt.text)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("ParsePubKeyText(%s) = %v, want %v", tt.text, err, tt.want)
			}
			if err == nil && pk.String() != tt.text {
				t.Errorf("String = %s, want %s", pk, tt.text)
			}
			if err != nil && !pk.IsZero() {
				t.Errorf("a failed parse returned %s", pk)
			}
		})
	}
}

func TestPubKeyMarshalling(t *testing.T) {
	pk := pubKey(t, "02"+xOne)
	for _, want := range []PubKey{pk, {}} { // unset round-trips too
		b, err := json.Marshal(struct{ PK PubKey }{want})
		if err != nil {
			t.Fatal(err)
		}
		if text := `{"PK":"` + want.String() + `"}`; string(b) != text {
			t.Errorf("JSON = %s, want %s", b, text)
		}
		got := struct{ PK PubKey }{pk}
		if err := json.Unmarshal(b, &got); err != nil || got.PK != want {
			t.Errorf("from JSON: %v, %v, want %v", got.PK, err, want)
		}
		bin, _ := want.MarshalBinary()
		back := pk
		if err := back.UnmarshalBinary(bin); err != nil || back != want {
			t.Errorf("from binary: %v, %v, want %v", back, err, want)
		}
	}
	var bad PubKey
	if err := bad.UnmarshalBinary(make([]byte, 32)); !errors.Is(err, ErrKeyLength) {
		t.Errorf("UnmarshalBinary of 32 zero bytes: %v, want %v", err, ErrKeyLength)
	}
	if err := bad.UnmarshalText([]byte("02" + xFive)); !errors.Is(err, ErrNotOnCurve) {
		t.Errorf("UnmarshalText off the curve: %v, want %v", err, ErrNotOnCurve)
	}
}

func TestPubKeyOrderAndShort(t *testing.T) {
	a, b := pubKey(t, "02"+xOne), pubKey(t, "03"+xOne)
	if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 {
		t.Errorf("Compare is not the byte order: %d %d %d", a.Compare(b), b.Compare(a), a.Compare(a))
	}
	if got := a.Short(); got != "02000000" {
		t.Errorf("Short = %s", got)
	}
}

func TestParseLabel(t *testing.T) {
	pk := pubKey(t, "02"+xOne)
	label := pk.Label() // ends in 0001 and one bit of padding: "c", i.e. 00010
	if !strings.HasSuffix(label, "c") {
		t.Fatalf("label %s does not end as the test expects", label)
	}
	tests := []struct {
		name, label string
		want        error
	}{
		{"canonical", label, nil},
		{"upper case", strings.ToUpper(label), nil},
		{"padding bit set", label[:52] + "d", ErrKeyText},
		{"digit outside the alphabet", "1" + label[1:], ErrKeyText},
		{"line end inside", label[:30] + "\n" + label[31:], ErrKeyText},
		{"line end and long enough", label[:52] + "\n", ErrKeyText},
		{"short", label[:52], ErrKeyLength},
		{"padded", label + "===", ErrKeyLength},
		{"zero key", strings.Repeat("a", 53), ErrZeroKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseLabel(tt.label)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("ParseLabel(%q) = %v, want %v", tt.label, err, tt.want)
			}
			if err == nil && got != pk {
				t.Errorf("ParseLabel(%q) = %s, want %s", tt.label, got, pk)
			}
		})
	}
}

func FuzzParsePubKey(f *testing.F) {
	pk, _ := GenerateKeyPair()
	f.Add(pk[:])
	f.Add(make([]byte, PubKeyLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		pk, err := ParsePubKey(b)
		if err != nil {
			if !pk.IsZero() {
				t.Fatalf("%x failed and returned %s", b, pk)
			}
			return
		}
		if string(pk[:]) != string(b) {
			t.Fatalf("%x parsed as %s", b, pk)
		}
		if _, err := ECDH(SecKey{31: 2}, pk); err != nil {
			t.Fatalf("%x parsed but does not multiply: %v", b, err)
		}
	})
}

func FuzzPubKeyTexts(f *testing.F) {
	pk, _ := GenerateKeyPair()
	f.Add(pk.String())
	f.Add(pk.Label())
	f.Add(strings.Repeat("0", 66))
	f.Fuzz(func(t *testing.T, s string) {
		if pk, err := ParsePubKeyText(s); err == nil && pk.String() != strings.ToLower(s) {
			t.Fatalf("%q parsed as %s", s, pk)
		}
		if pk, err := ParseLabel(s); err == nil && pk.Label() != strings.ToLower(s) {
			t.Fatalf("%q parsed as %s", s, pk.Label())
		}
		var pk PubKey
		if err := pk.UnmarshalText([]byte(s)); err == nil && pk.String() != strings.ToLower(s) {
			t.Fatalf("%q unmarshalled as %s", s, pk)
		}
	})
}
