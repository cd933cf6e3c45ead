package proto

import (
	"bytes"
	"encoding/gob"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// What the deployed software encodes, by its field names and kinds.
type (
	theirAddr struct {
		PK   cipher.PubKey // has MarshalBinary
		Port uint16
	}
	theirRequest struct {
		Timestamp        int64
		SrcAddr, DstAddr theirAddr
		NoiseMsg         []byte
	}
	theirResponse struct {
		ReqHash  [32]byte
		Accepted bool
		ErrCode  uint16
		NoiseMsg []byte
	}
	// What newer versions of it encode.
	newerRequest struct {
		Timestamp        int64
		SrcAddr, DstAddr theirAddr
		IPinfo, GeoInfo  bool
		NoiseMsg         []byte
	}
	newerResponse struct {
		ReqHash               [32]byte
		Accepted              bool
		ErrCode               uint16
		NoiseMsg              []byte
		IP                    []byte
		GeoCountry, GeoRegion string
		GeoLat, GeoLon        float64
	}
)

func encodeGob(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decodeGob(b []byte, v any) error { return gob.NewDecoder(bytes.NewReader(b)).Decode(v) }

func (r *theirRequest) ours() *Request {
	return &Request{
		Timestamp: r.Timestamp, NoiseMsg: r.NoiseMsg,
		Src: Addr{r.SrcAddr.PK, r.SrcAddr.Port}, Dst: Addr{r.DstAddr.PK, r.DstAddr.Port},
	}
}

func (r *theirResponse) ours() *Response {
	return &Response{ReqHash: r.ReqHash, Accepted: r.Accepted, ErrCode: Code(r.ErrCode), NoiseMsg: r.NoiseMsg}
}

func TestGobBothWays(t *testing.T) {
	a, b := identity(t, 0x11).PubKey(), identity(t, 0x22).PubKey()
	var hash [32]byte
	for i := range hash {
		hash[i] = byte(i * 37)
	}
	requests := []theirRequest{
		{},
		{Timestamp: 1},
		{Timestamp: math.MinInt64, SrcAddr: theirAddr{a, 65535}, DstAddr: theirAddr{b, 1}, NoiseMsg: make([]byte, 49)},
		{Timestamp: math.MaxInt64, SrcAddr: theirAddr{Port: 128}, DstAddr: theirAddr{PK: b}, NoiseMsg: []byte{1}},
		{Timestamp: -1, NoiseMsg: make([]byte, 1233)},
		{Timestamp: 127, SrcAddr: theirAddr{a, 127}, NoiseMsg: make([]byte, 60000)},
	}
	for _, r := range requests {
		ours := r.ours()
		var back theirRequest
		if err := decodeGob(appendRequest(nil, ours), &back); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("theirs of ours: %+v, %v, want %+v", back, err, r)
		}
		if got, err := decodeRequest(encodeGob(t, r)); err != nil || !reflect.DeepEqual(got, ours) {
			t.Errorf("ours of theirs: %+v, %v, want %+v", got, err, ours)
		}
	}
	for _, r := range []theirResponse{
		{},
		{ReqHash: hash, Accepted: true, NoiseMsg: make([]byte, 49)},
		{ReqHash: hash, ErrCode: 306},
		{Accepted: true, ErrCode: 65535, NoiseMsg: make([]byte, 1137)},
	} {
		ours := r.ours()
		var back theirResponse
		if err := decodeGob(appendResponse(nil, ours), &back); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("theirs of ours: %+v, %v, want %+v", back, err, r)
		}
		if got, err := decodeResponse(encodeGob(t, r)); err != nil || !reflect.DeepEqual(got, ours) {
			t.Errorf("ours of theirs: %+v, %v, want %+v", got, err, ours)
		}
	}
}

func TestGobNewerFields(t *testing.T) {
	a := theirAddr{identity(t, 0x11).PubKey(), 7}
	req := newerRequest{Timestamp: 5, SrcAddr: a, DstAddr: a, IPinfo: true, GeoInfo: true, NoiseMsg: []byte("m")}
	got, err := decodeRequest(encodeGob(t, req))
	if err != nil || !got.IPInfo || !got.GeoInfo || got.Timestamp != 5 || string(got.NoiseMsg) != "m" || got.Dst.Port != 7 {
		t.Errorf("request = %+v, %v", got, err)
	}
	var back newerRequest
	if err := decodeGob(appendRequest(nil, got), &back); err != nil || back.IPinfo || back.SrcAddr != a {
		t.Errorf("their request of ours = %+v, %v", back, err)
	}
	resp := newerResponse{
		ReqHash: [32]byte{9}, Accepted: true, NoiseMsg: []byte("n"), IP: []byte{1, 2, 3, 4},
		GeoCountry: "DE", GeoRegion: "by", GeoLat: 48.1, GeoLon: -11.6,
	}
	want := &Response{ReqHash: [32]byte{9}, Accepted: true, NoiseMsg: []byte("n")}
	if got, err := decodeResponse(encodeGob(t, resp)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("response = %+v, %v, want %+v", got, err, want)
	}
}

type selfmade struct{ s string }

func (x selfmade) GobEncode() ([]byte, error)   { return []byte(x.s), nil }
func (x *selfmade) GobDecode(text []byte) error { x.s = string(text); return nil }

type nested struct {
	I    int8
	Next *nested
	M    map[string][]int
}

// future has a field of every kind in front of the one that we know.
type future struct {
	B    bool
	I    int64
	U    uint64
	F    float32
	Raw  []byte
	S    string
	C    complex128
	Any  any
	Nil  any
	Anys []any
	Arr  [3]uint32
	Bits [40]byte
	Sl   []string
	St   nested
	M    map[int]nested
	MM   map[string]map[string]float64
	G    selfmade
	PK   cipher.PubKey

	Timestamp int64
	NoiseMsg  []byte
}

func TestGobSkipsEveryKind(t *testing.T) {
	gob.Register(nested{})
	gob.Register(map[string]int{})
	v := future{
		B: true, I: -300, U: math.MaxUint64, F: 1.5, Raw: make([]byte, 300), S: strings.Repeat("x", 200), C: complex(1, -2),
		Any: nested{I: -1, Next: &nested{I: 2}}, Anys: []any{1, "two", nested{I: 3}, map[string]int{"a": 1}, nil},
		Arr: [3]uint32{0, 1, 1 << 31}, Bits: [40]byte{39: 255}, Sl: []string{"", "a"},
		St: nested{I: 1, Next: &nested{I: 2, M: map[string][]int{"k": {1, 2, 3}}}},
		M:  map[int]nested{1: {}, -1: {I: 7}}, MM: map[string]map[string]float64{"a": {"b": 1}},
		G: selfmade{"g"}, PK: identity(t, 0x11).PubKey(),
		Timestamp: 42, NoiseMsg: []byte("behind it all"),
	}
	got, err := decodeRequest(encodeGob(t, v))
	if err != nil || got.Timestamp != 42 || string(got.NoiseMsg) != "behind it all" {
		t.Errorf("request = %+v, %v", got, err)
	}
}

func TestGobWrongKinds(t *testing.T) {
	pk := identity(t, 0x11).PubKey()
	for name, v := range map[string]any{
		"timestamp is unsigned":  struct{ Timestamp uint64 }{1},
		"address is a string":    struct{ SrcAddr string }{"a:1"},
		"key is an array":        struct{ SrcAddr struct{ PK [33]byte } }{struct{ PK [33]byte }{pk}},
		"key is bytes":           struct{ SrcAddr struct{ PK []byte } }{struct{ PK []byte }{pk[:]}},
		"key encodes itself":     struct{ SrcAddr struct{ PK selfmade } }{struct{ PK selfmade }{selfmade{string(pk[:])}}},
		"port is signed":         struct{ DstAddr struct{ Port int } }{struct{ Port int }{1}},
		"port is too great":      struct{ DstAddr struct{ Port uint32 } }{struct{ Port uint32 }{65536}},
		"message is a string":    struct{ NoiseMsg string }{"m"},
		"message is an array":    struct{ NoiseMsg [3]byte }{},
		"question is a number":   struct{ IPinfo int }{1},
		"not a struct":           []byte("x"),
		"a map":                  map[string]int64{"Timestamp": 1},
		"nothing but an integer": 7,
	} {
		if got, err := decodeRequest(encodeGob(t, v)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, v := range map[string]any{
		"hash is bytes":         struct{ ReqHash []byte }{make([]byte, 32)},
		"hash is short":         struct{ ReqHash [31]byte }{},
		"hash is long":          struct{ ReqHash [33]byte }{},
		"hash has wide numbers": struct{ ReqHash [32]uint16 }{[32]uint16{256}},
		"hash is of ints":       struct{ ReqHash [32]int8 }{},
		"accepted is a number":  struct{ Accepted uint }{1},
		"code is too great":     struct{ ErrCode uint64 }{1 << 16},
		"code is signed":        struct{ ErrCode int }{1},
	} {
		if got, err := decodeResponse(encodeGob(t, v)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestGobTruncated also says that an object whose value is complete needs nothing
// behind it.
func TestGobTruncated(t *testing.T) {
	v := golden(t)
	for n := range v.Request {
		if _, err := decodeRequest(v.Request[:n]); err == nil {
			t.Errorf("a request of %d bytes is complete", n)
		}
	}
	for n := range v.Accepted {
		if _, err := decodeResponse(v.Accepted[:n]); err == nil {
			t.Errorf("a response of %d bytes is complete", n)
		}
	}
	if _, err := decodeRequest(append(bytes.Clone(v.Request), "something behind"...)); err != nil {
		t.Error(err)
	}
}

const (
	maxLength = "\xf8\xff\xff\xff\xff\xff\xff\xff\xff" // 2^64-1
)

// msg frames the body of a gob message.
func msg(body string) string { return string(appendGobUint(nil, uint64(len(body)))) + body }

// def64 defines type 64 as a struct of one field of the type whose number is given
// as a gob integer.
func def64(fieldType string) string {
	return msg("\x7f\x03\x01\x02\xff\x80\x00\x01\x01\x01\x01X\x01" + fieldType + "\x00\x00\x00")
}

func TestGobBombs(t *testing.T) {
	deep := strings.Repeat("\x01", 100) + strings.Repeat("\x00", 100)
	many := ""
	for i := range 40 {
		many += msg(string(appendGobUint(nil, uint64(64+i)<<1-1)) + "\x02\x01\x00\x00\x00")
	}
	wide := msg("\x7f\x03\x02" + string(appendGobUint(nil, 60000)) + strings.Repeat("\x00", 60000) + "\x00\x00")
	for _, c := range []struct {
		name, gob string
		want      error
	}{
		{"empty", "", errGobEnd},
		{"message of no bytes", "\x00", errGobEnd},
		{"message of 2^64-1 bytes", maxLength, errGobEnd},
		{"number of 9 bytes", "\xf7\x01\x01\x01\x01\x01\x01\x01\x01\x01", errGobNumber},
		{"number of 128 bytes", "\x80" + strings.Repeat("\x01", 128), errGobNumber},
		{"value without definition", msg("\xff\x80\x00"), errGobType},
		{"value of a type that needs none", msg("\x0a\x00\x01x"), errGobType},
		{"value of a type that is no struct", msg("\x7f\x02\x02\x04\x00\x00") + msg("\xff\x80\x00\x00"), errGobKind},
		{"definition of a type below 64", msg("\x01\x02\x00"), errGobType},
		{"definition of the least number", msg(maxLength + "\x02\x00"), errGobType},
		{"definition of nothing", msg("\x7f\x00"), errGobType},
		{"definition of two kinds", msg("\x7f\x01\x00\x01\x00\x00"), errGobType},
		{"definition twice", def64("\x04") + def64("\x04"), errGobType},
		{"definition with more behind", msg("\x7f\x02\x00\x00\x00"), errGobType},
		{"definition of an eighth kind", msg("\x7f\x08\x00"), errGobNumber},
		{"array of -1 elements", msg("\xff\x81\x01\x02\x04\x01\x01\x00\x00") + def64("\xff\x82") + msg("\xff\x80\x01"+maxLength), errGobEnd},
		{"definition with a long name", msg("\x7f\x02\x01\x01" + string(appendGobUint(nil, 2000)) + strings.Repeat("n", 2000) + "\x00\x00\x00"), errGobLimit},
		{"40 definitions", many, errGobLimit},
		{"struct of 60,000 fields", wide, errGobLimit},
		{"struct of 2^64-1 fields", msg("\x7f\x03\x02" + maxLength), errGobEnd},
		{"field behind the last", def64("\x04") + msg("\xff\x80\x02\x00"), errGobNumber},
		{"field of number 2^64-1", def64("\x04") + msg("\xff\x80"+maxLength), errGobNumber},
		{"field of an undefined type", def64("\xff\xc0") + msg("\xff\x80\x01\x00"), errGobType},
		{"field of a negative type", def64("\x03") + msg("\xff\x80\x01\x00"), errGobType},
		{"struct inside itself", def64("\xff\x80") + msg("\xff\x80"+deep), errGobLimit},
		{"string of 2^64-1 bytes", def64("\x0c") + msg("\xff\x80\x01"+maxLength), errGobEnd},
		{"interface that defines types", def64("\x10") + msg("\xff\x80\x01\x01n\x7f\x00"), errGobType},
		{"slice of 2^64-1 elements", msg("\xff\x81\x02\x02\x04\x00\x00") + def64("\xff\x82") + msg("\xff\x80\x01"+maxLength), errGobEnd},
		{"array that is longer than it says", msg("\xff\x81\x01\x02\x04\x01\x04\x00\x00") + def64("\xff\x82") + msg("\xff\x80\x01\x03\x00\x00\x00\x00"), errGobNumber},
		{"map of 2^64-1 pairs", msg("\xff\x81\x04\x02\x04\x01\x04\x00\x00") + def64("\xff\x82") + msg("\xff\x80\x01"+maxLength), errGobEnd},
		{"slice of itself", msg("\xff\x81\x02\x02\xff\x82\x00\x00") + def64("\xff\x82") + msg("\xff\x80\x01"+deep), errGobLimit},
	} {
		if _, err := decodeRequest([]byte(c.gob)); !errors.Is(err, c.want) {
			t.Errorf("%s: request: %v, want %v", c.name, err, c.want)
		}
		if _, err := decodeResponse([]byte(c.gob)); !errors.Is(err, c.want) {
			t.Errorf("%s: response: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestGobTypeNumbersDoNotMatter(t *testing.T) {
	// An encoder that has encoded much else numbers its types otherwise.
	type filler1 struct{ A, B, C int }
	type filler2 struct{ A []filler1 }
	encodeGob(t, filler2{})
	want := theirRequest{Timestamp: 1, SrcAddr: theirAddr{Port: 2}, NoiseMsg: []byte{3}}
	b := encodeGob(t, struct {
		NoiseMsg         []byte
		DstAddr, SrcAddr theirAddr
		Timestamp        int64
	}{want.NoiseMsg, want.DstAddr, want.SrcAddr, want.Timestamp})
	if got, err := decodeRequest(b); err != nil || !reflect.DeepEqual(got, want.ours()) {
		t.Errorf("request = %+v, %v, want %+v", got, err, want.ours())
	}
}
