package proto

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestSignedRequest(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	want := request(a, b)
	s, err := a.SignRequest(want)
	if err != nil || len(s) != 346 {
		t.Fatalf("%d bytes, %v, want 346", len(s), err)
	}
	got, err := s.Request()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v, want %+v", got, err, want)
	}
	clear(s) // what was returned aliases nothing
	if !reflect.DeepEqual(got, want) {
		t.Error("the request changes with the object")
	}
}

// TestRequestChecks has each fault together with all that are reported after it,
// so that the order is seen too.
func TestRequestChecks(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	r := request(a, b)
	sign := func() Signed {
		s, err := b.SignRequest(r) // not by the source
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	check := func(s Signed, want Code) {
		t.Helper()
		if got, err := s.Request(); !errors.Is(err, want) || got != nil {
			t.Errorf("%+v, %v, want %v", got, err, want)
		}
	}
	check(sign(), ErrReqSignature)
	r.Timestamp = -5
	check(sign(), ErrReqTimestamp)
	r.Timestamp = 0
	check(sign(), ErrReqTimestamp)
	r.Dst.Port = 0
	check(sign(), ErrReqDstPort)
	r.Dst.PK = cipher.PubKey{}
	check(sign(), ErrReqDstKey)
	r.Src.Port = 0
	check(sign(), ErrReqSrcPort)
	r.Src.PK = cipher.PubKey{}
	check(sign(), ErrReqSrcKey)
	check(sign()[:cipher.SigLen+10], ErrMalformed)
	check(sign()[:cipher.SigLen], ErrMalformed)
	check(nil, ErrMalformed)
	check(make(Signed, MaxObject+1), ErrMalformed)
}

func TestSignedResponse(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	req, err := a.SignRequest(request(a, b))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []*Response{
		{ReqHash: req.Hash(), Accepted: true, NoiseMsg: bytes.Repeat([]byte{1}, 49)},
		{ReqHash: req.Hash(), ErrCode: ErrNoListener},
		{ReqHash: req.Hash()},
	} {
		s, err := b.SignResponse(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Response(req.Hash(), b.PubKey())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		if _, err := s.Response(req.Hash(), a.PubKey()); !errors.Is(err, ErrRespSignature) {
			t.Errorf("signed by another: %v", err)
		}
		if _, err := s.Response([32]byte{}, a.PubKey()); !errors.Is(err, ErrRespHash) {
			t.Errorf("another hash and another signer: %v", err)
		}
		if _, err := s[:70].Response(req.Hash(), b.PubKey()); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut off: %v", err)
		}
		if _, err := s[:65].Response(req.Hash(), b.PubKey()); !errors.Is(err, ErrMalformed) {
			t.Errorf("a signature alone: %v", err)
		}
	}
}

func TestResponseErr(t *testing.T) {
	for _, c := range []struct {
		r    Response
		want error
	}{
		{Response{Accepted: true, ErrCode: ErrNoListener}, nil},
		{Response{ErrCode: ErrNoListener}, ErrNoListener},
		{Response{ErrCode: 9999}, ErrRefused},
		{Response{}, ErrRefused},
	} {
		if err := c.r.Err(); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%+v: %v, want %v", c.r, err, c.want)
		}
	}
}

// TestSignedDamage flips a bit of each byte: nothing may still be signed, nor have the hash.
func TestSignedDamage(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	s, err := a.SignRequest(request(a, b))
	if err != nil {
		t.Fatal(err)
	}
	for i := range s {
		bad := bytes.Clone(s)
		bad[i] ^= 1 << (i % 8)
		if r, err := Signed(bad).Request(); err == nil {
			t.Fatalf("byte %d: %+v", i, r)
		}
		if Signed(bad).Hash() == s.Hash() {
			t.Fatalf("byte %d: same hash", i)
		}
	}
}

// TestBadKeys: what is no point of the curve panics in the deployed software.
func TestBadKeys(t *testing.T) {
	a, b := identity(t, 0x11), identity(t, 0x22)
	beyond := cipher.PubKey(append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)) // X above the field prime
	offCurve := cipher.PubKey(append([]byte{2}, append(make([]byte, 31), 5)...))
	for _, bad := range []cipher.PubKey{beyond, offCurve, {4, 1}, {0, 1}} {
		r := request(a, b)
		r.Src.PK = bad
		s, err := a.SignRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Request(); !errors.Is(err, ErrReqSignature) {
			t.Errorf("source %v: %v", bad, err)
		}
		if _, _, err := a.Initiate(bad); err == nil {
			t.Errorf("a stream to %v", bad)
		}
		if _, _, _, err := a.Respond(bad, make([]byte, 49)); err == nil {
			t.Errorf("a stream from %v", bad)
		}
		msg1 := append(bad[:], make([]byte, 16)...)
		if _, _, _, err := b.Respond(a.PubKey(), msg1); err == nil {
			t.Errorf("a stream with ephemeral key %v", bad)
		}
		in, _, err := a.Initiate(b.PubKey())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.Finish(msg1); err == nil {
			t.Errorf("a stream answered with ephemeral key %v", bad)
		}
	}
}
