package proto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"reflect"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type vectors struct {
	XK, KK struct {
		Messages []hexBytes
		ToB      hexBytes `json:"to_b"` // "hello", counter 1, with length and counter
		ToA      hexBytes `json:"to_a"`
	}
	Request, Accepted, Refused hexBytes
	ReqHash                    hexBytes `json:"req_hash"`
	HelloSignature             hexBytes `json:"hello_signature"`
}

// golden reads the vectors; the file says where they come from.
func golden(t testing.TB) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/appendix_a.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A tap records what is written.
type tap struct {
	net.Conn
	wrote bytes.Buffer
}

func (c *tap) Write(b []byte) (int, error) {
	c.wrote.Write(b)
	return c.Conn.Write(b)
}

func TestGoldenSession(t *testing.T) {
	v := golden(t).XK
	a, b := identity(t, 0x11), identity(t, 0x22)
	ca, cb := net.Pipe()
	defer ca.Close()
	defer cb.Close()
	ta, tb := &tap{Conn: ca}, &tap{Conn: cb}
	type result struct {
		s   *Session
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		s, err := b.acceptSession(t.Context(), tb, fixed(0x44))
		accepted <- result{s, err}
	}()
	sa, err := a.dialSession(t.Context(), ta, b.PubKey(), fixed(0x33))
	if err != nil {
		t.Fatal(err)
	}
	r := <-accepted
	if r.err != nil {
		t.Fatal(r.err)
	}
	sb := r.s
	if sa.Remote() != b.PubKey() || sb.Remote() != a.PubKey() {
		t.Errorf("remotes %v, %v", sa.Remote(), sb.Remote())
	}
	framed := func(msgs ...hexBytes) (out []byte) {
		for _, m := range msgs {
			out = append(append(out, 0, byte(len(m))), m...)
		}
		return out
	}
	if want := framed(v.Messages[0], v.Messages[2]); !bytes.Equal(ta.wrote.Bytes(), want) {
		t.Errorf("client wrote %x, want %x", ta.wrote.Bytes(), want)
	}
	if want := framed(v.Messages[1]); !bytes.Equal(tb.wrote.Bytes(), want) {
		t.Errorf("server wrote %x, want %x", tb.wrote.Bytes(), want)
	}
	checkObject(t, sa, sb, v.ToB)
	checkObject(t, sb, sa, v.ToA)
}

func checkObject(t *testing.T, from, to *Session, want []byte) {
	t.Helper()
	sealed, err := from.Seal(nil, []byte("hello"))
	if err != nil || !bytes.Equal(sealed, want) {
		t.Errorf("sealed %x, %v, want %x", sealed, err, want)
	}
	plain, err := to.Open(bytes.Clone(want)[2:])
	if err != nil || string(plain) != "hello" {
		t.Errorf("opened %q, %v", plain, err)
	}
}

func TestGoldenStream(t *testing.T) {
	v := golden(t).KK
	a, b := identity(t, 0x11), identity(t, 0x22)
	in, msg1, err := a.initiate(b.PubKey(), fixed(0x33))
	if err != nil || !bytes.Equal(msg1, v.Messages[0]) {
		t.Fatalf("message 1 = %x, %v, want %x", msg1, err, v.Messages[0])
	}
	msg2, bs, br, err := b.respond(a.PubKey(), msg1, fixed(0x44))
	if err != nil || !bytes.Equal(msg2, v.Messages[1]) {
		t.Fatalf("message 2 = %x, %v, want %x", msg2, err, v.Messages[1])
	}
	as, ar, err := in.Finish(msg2)
	if err != nil {
		t.Fatal(err)
	}
	if got := as.AppendFrames(nil, []byte("hello")); !bytes.Equal(got, v.ToB) {
		t.Errorf("A to B: %x, want %x", got, v.ToB)
	}
	if got := bs.AppendFrames(nil, []byte("hello")); !bytes.Equal(got, v.ToA) {
		t.Errorf("B to A: %x, want %x", got, v.ToA)
	}
	if p, err := br.Open(v.ToB[2:]); err != nil || string(p) != "hello" {
		t.Errorf("B opened %q, %v", p, err)
	}
	if p, err := ar.Open(v.ToA[2:]); err != nil || string(p) != "hello" {
		t.Errorf("A opened %q, %v", p, err)
	}
}

func TestGoldenGob(t *testing.T) {
	v := golden(t)
	req := request(identity(t, 0x11), identity(t, 0x22))
	if got := appendRequest(nil, req); !bytes.Equal(got, v.Request) {
		t.Errorf("request = %x, want %x", got, v.Request)
	}
	if got, err := decodeRequest(v.Request); err != nil || !reflect.DeepEqual(got, req) {
		t.Errorf("request = %+v, %v, want %+v", got, err, req)
	}
	yes := &Response{ReqHash: [32]byte(v.ReqHash), Accepted: true, NoiseMsg: bytes.Repeat([]byte{0xcd}, 49)}
	no := &Response{ReqHash: [32]byte(v.ReqHash), ErrCode: ErrNoListener}
	for _, c := range []struct {
		resp *Response
		gob  []byte
	}{{yes, v.Accepted}, {no, v.Refused}} {
		if got := appendResponse(nil, c.resp); !bytes.Equal(got, c.gob) {
			t.Errorf("response = %x, want %x", got, c.gob)
		}
		if got, err := decodeResponse(c.gob); err != nil || !reflect.DeepEqual(got, c.resp) {
			t.Errorf("response = %+v, %v, want %+v", got, err, c.resp)
		}
	}
}

func TestGoldenSignature(t *testing.T) {
	v := golden(t)
	s := Signed(append(bytes.Clone(v.HelloSignature), "hello"...))
	if err := s.verify(identity(t, 0x11).PubKey()); err != nil {
		t.Error(err)
	}
	if err := s.verify(cipher.PubKey{}); err == nil {
		t.Error("the unset key has signed")
	}
}
