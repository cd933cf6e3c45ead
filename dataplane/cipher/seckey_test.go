package cipher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// groupOrder is n of secp256k1 (SEC 2, section 2.4.1).
const groupOrder = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

func TestParseSecKeyText(t *testing.T) {
	tests := []struct {
		name, text string
		want       error
	}{
		{"one", xOne, nil},
		{"n-1", groupOrder[:63] + "0", nil},
		{"n", groupOrder, ErrSecKeyRange},
		{"2^256-1", maxX, ErrSecKeyRange},
		{"zero", strings.Repeat("0", 64), ErrZeroKey},
		{"short", xOne[1:], ErrKeyLength},
		{"not hex", "g" + xOne[1:], ErrKeyText},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sk, err := ParseSecKeyText(tt.text)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), tt.text) {
				t.Errorf("the error %q shows the secret", err)
			}
			if text, _ := sk.MarshalText(); err == nil && string(text) != tt.text {
				t.Errorf("MarshalText = %s, want %s", text, tt.text)
			}
		})
	}
}

// Every way to print or log a key must come out without its digits.
func TestSecretsAreNotPrinted(t *testing.T) {
	_, sk := GenerateKeyPair()
	static, err := NewStaticKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Key    SecKey
		static *StaticKey // fmt walks unexported fields without asking for methods
	}{sk, static}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
		fmt.Fprintf(&out, verb+"\n", sk)
		fmt.Fprintf(&out, verb+"\n", &sk)
		fmt.Fprintf(&out, verb+"\n", static)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", []SecKey{sk})
		fmt.Fprintf(&out, verb+"\n", fmt.Errorf("wrapped: %v", sk))
	}
	log := zerolog.New(&out)
	log.Info().Object("a", sk).Interface("b", sk).Stringer("c", sk).Any("d", static).Object("e", static).Send()
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", static.String(), "k", sk.String())

	text, _ := sk.MarshalText()
	decimal := fmt.Sprint([32]byte(sk))
	secrets := map[string]string{
		"hex":     string(text),
		"bytes":   string(sk[:]),
		"decimal": decimal[1 : len(decimal)-1],
		"go hex":  strings.Trim(fmt.Sprintf("%#v", sk[:]), "[]byte{}"),
	}
	for form, secret := range secrets {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(secret)) {
			t.Errorf("output shows the secret as %s", form)
		}
	}
	if !strings.Contains(out.String(), redacted) {
		t.Error("output shows no placeholder: nothing was printed")
	}
}

func TestSecKeyMarshalling(t *testing.T) {
	_, sk := GenerateKeyPair()
	for _, want := range []SecKey{sk, {}} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := sk
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("round trip failed: %v", err)
		}
	}
}

func TestGenerateKeyPairFrom(t *testing.T) {
	// The first draw is out of range and the second zero: both are drawn again.
	order := bytes.Repeat([]byte{0xff}, 32)
	random := bytes.NewReader(append(append(order, make([]byte, 32)...), SecKey{31: 7}.bytes()...))
	pk, sk, err := GenerateKeyPairFrom(random)
	if err != nil || sk != (SecKey{31: 7}) {
		t.Fatalf("got another key, %v", err)
	}
	if want, _ := sk.PubKey(); pk != want {
		t.Errorf("public key %s, want %s", pk, want)
	}
	if _, _, err := GenerateKeyPairFrom(bytes.NewReader(order[:31])); err == nil {
		t.Error("a short random source made a key")
	}
}

func (sk SecKey) bytes() []byte { return sk[:] }
