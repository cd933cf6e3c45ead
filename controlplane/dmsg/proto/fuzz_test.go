package proto

import (
	"bytes"
	"io"
	"net"
	"reflect"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// addSeeds gives the fuzzer good objects and a few that only encoding/gob makes.
func addSeeds(f *testing.F) {
	v := golden(f)
	pk := identity(f, 0x11).PubKey()
	a := theirAddr{pk, 7}
	f.Add([]byte(v.Request))
	f.Add([]byte(v.Accepted))
	f.Add([]byte(v.Refused))
	f.Add(encodeGob(f, newerRequest{Timestamp: 5, SrcAddr: a, DstAddr: a, IPinfo: true, NoiseMsg: make([]byte, 49)}))
	f.Add(encodeGob(f, newerResponse{Accepted: true, IP: []byte{1, 2, 3, 4}, GeoCountry: "DE", GeoLat: 48.1}))
	f.Add(encodeGob(f, struct {
		M         map[string][]int
		N         nested
		Timestamp int64
	}{map[string][]int{"a": {1}}, nested{Next: &nested{I: 1}}, 4}))
	f.Add([]byte{})
}

// FuzzGob: whatever comes, nothing panics; what we read, we can write and read
// again; and where encoding/gob reads the same types too, it reads the same.
func FuzzGob(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if req, err := decodeRequest(b); err == nil {
			req.IPInfo, req.GeoInfo = false, false // are not written
			req.NoiseMsg = trim(req.NoiseMsg)      // nor is that difference
			again, err := decodeRequest(appendRequest(nil, req))
			if err != nil || !reflect.DeepEqual(again, req) {
				t.Fatalf("%+v, %v, want %+v", again, err, req)
			}
			var theirs lenientRequest
			if decodeGob(b, &theirs) == nil && !reflect.DeepEqual(theirs.ours(), req) {
				t.Fatalf("encoding/gob reads %+v, we %+v", theirs, req)
			}
		}
		if resp, err := decodeResponse(b); err == nil {
			resp.NoiseMsg = trim(resp.NoiseMsg)
			again, err := decodeResponse(appendResponse(nil, resp))
			if err != nil || !reflect.DeepEqual(again, resp) {
				t.Fatalf("%+v, %v, want %+v", again, err, resp)
			}
			var theirs theirResponse
			if decodeGob(b, &theirs) == nil && !reflect.DeepEqual(theirs.ours(), resp) {
				t.Fatalf("encoding/gob reads %+v, we %+v", theirs, resp)
			}
		}
	})
}

// trim makes an empty message none, for the gob does not tell them apart.
func trim(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// A lenientRequest takes keys that are no points of the curve, as our decoder does.
type lenientRequest struct {
	Timestamp        int64
	SrcAddr, DstAddr lenientAddr
	NoiseMsg         []byte
}

type lenientAddr struct {
	PK   lenientKey
	Port uint16
}

type lenientKey cipher.PubKey

func (k lenientKey) MarshalBinary() ([]byte, error) { return k[:], nil }

func (k *lenientKey) UnmarshalBinary(b []byte) error {
	if len(b) != len(k) {
		return cipher.ErrKeyLength
	}
	copy(k[:], b)
	return nil
}

func (r *lenientRequest) ours() *Request {
	return &Request{
		Timestamp: r.Timestamp, NoiseMsg: trim(r.NoiseMsg),
		Src: Addr{cipher.PubKey(r.SrcAddr.PK), r.SrcAddr.Port},
		Dst: Addr{cipher.PubKey(r.DstAddr.PK), r.DstAddr.Port},
	}
}

// FuzzGobAccepts: what encoding/gob writes of their types, and of types that are
// to come, we read. The reverse of FuzzGob's last claim does not hold: it also reads
// structs without an end, definitions of nothing and the like, which none writes.
func FuzzGobAccepts(f *testing.F) {
	pk := identity(f, 0x11).PubKey()
	f.Add(int64(1), pk[:], uint16(1), uint16(80), []byte("message"), "more", 3.5, 7)
	f.Add(int64(-1), []byte{}, uint16(0), uint16(65535), []byte{}, "", 0.0, 0)
	f.Fuzz(func(t *testing.T, at int64, key []byte, from, to uint16, message []byte, s string, x float64, n int) {
		var k lenientKey
		copy(k[:], key)
		v := struct {
			More      map[string]float64
			Timestamp int64
			Numbers   []int
			DstAddr   lenientAddr
			Chain     *nested
			IPinfo    bool
			SrcAddr   struct {
				Zone string
				Port uint16
			}
			Flags    [4]bool
			NoiseMsg []byte
			Any      any
		}{More: map[string]float64{s: x}, Timestamp: at, Numbers: []int{n, 0, -n}, DstAddr: lenientAddr{k, to}, IPinfo: n > 0, NoiseMsg: message, Any: s}
		if n > 0 {
			v.Chain = &nested{I: 1, M: map[string][]int{s: {n}}}
		}
		v.SrcAddr.Zone, v.SrcAddr.Port = s, from
		want := &Request{Timestamp: at, Src: Addr{Port: from}, Dst: Addr{cipher.PubKey(k), to}, IPInfo: n > 0, NoiseMsg: message}
		got, err := decodeRequest(encodeGob(t, v))
		if err != nil {
			t.Fatal(err)
		}
		got.NoiseMsg, want.NoiseMsg = trim(got.NoiseMsg), trim(want.NoiseMsg)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// FuzzSigned: nobody's signature can be guessed.
func FuzzSigned(f *testing.F) {
	v := golden(f)
	f.Add(append(make([]byte, cipher.SigLen), v.Request...))
	f.Add(append(make([]byte, cipher.SigLen), v.Accepted...))
	f.Add(make([]byte, cipher.SigLen))
	dst := identity(f, 0x22).PubKey()
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Signed(b).Request(); err == nil && r.Timestamp <= 0 {
			t.Fatalf("%+v", r)
		}
		if r, err := Signed(b).Response([32]byte(v.ReqHash), dst); err == nil {
			t.Fatalf("a forged response: %+v", r)
		}
	})
}

// FuzzOpen: no object and no frame can be forged, and both still work afterwards.
func FuzzOpen(f *testing.F) {
	client, server := pair(f)
	as, _, _, br := kk(f)
	f.Add(make([]byte, 24))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := server.Open(bytes.Clone(b)); err == nil {
			t.Fatalf("forged object %x", p)
		}
		if p, err := br.Open(bytes.Clone(b)); err == nil {
			t.Fatalf("forged frame %x", p)
		}
		obj, err := client.Seal(nil, b)
		if err != nil {
			return // too long
		}
		if p, err := server.Open(obj[2:]); err != nil || !bytes.Equal(p, b) {
			t.Fatalf("%x, %v", p, err)
		}
		for _, body := range split(t, as.AppendFrames(nil, b)) {
			if _, err := br.Open(body); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzAcceptSession feeds the relay's side of the handshake with anything.
func FuzzAcceptSession(f *testing.F) {
	b := identity(f, 0x22)
	xk := golden(f).XK.Messages
	f.Add(append(append([]byte{0, 49}, xk[0]...), append([]byte{0, 65}, xk[2]...)...))
	f.Add([]byte{0x0f, 0xfe, 2})
	f.Fuzz(func(t *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = theirs.Write(sent)
			theirs.Close()
		}()
		if s, err := b.AcceptSession(t.Context(), ours); err == nil {
			t.Fatalf("a session with %v", s.Remote())
		}
	})
}
