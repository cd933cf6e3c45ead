package noise

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestGoldenCookie(t *testing.T) {
	v := golden(t, "testdata/vectors.json").Cookie
	pk, err := cipher.ParsePubKey(v.Responder)
	if err != nil {
		t.Fatal(err)
	}
	src := netip.MustParseAddrPort(v.Address)
	jar, checker := NewCookieJar(pk), NewCookieChecker(pk)
	checker.random = bytes.NewReader(append(append([]byte{}, v.Secret...), v.Nonce...))

	msg := append(bytes.Clone(v.Body), make([]byte, MACsLen)...)
	if err := jar.AddMACs(msg, 0); err != nil {
		t.Fatal(err)
	}
	if want := append(append(bytes.Clone(v.Body), v.MAC1...), make([]byte, 16)...); !bytes.Equal(msg, want) {
		t.Fatalf("message = %x, want %x", msg, want)
	}
	reply, err := checker.AppendReply(nil, msg, src, 0)
	if err != nil || !bytes.Equal(reply, v.Reply) {
		t.Fatalf("reply = %x, %v, want %x", reply, err, v.Reply)
	}
	if err := jar.ConsumeReply(reply, 0); err != nil || !bytes.Equal(jar.cookie[:], v.Cookie) {
		t.Fatalf("cookie = %x, %v, want %x", jar.cookie, err, v.Cookie)
	}
	if err := jar.AddMACs(msg, 0); err != nil || !bytes.Equal(msg[len(msg)-16:], v.MAC2) {
		t.Fatalf("mac2 = %x, %v, want %x", msg[len(msg)-16:], err, v.MAC2)
	}
	if mapped := netip.AddrPortFrom(netip.AddrFrom16(src.Addr().As16()), src.Port()); !checker.CheckMAC2(msg, src, 0) || !checker.CheckMAC2(msg, mapped, 0) {
		t.Error("mac2 is refused")
	}
}

type cookieEnds struct {
	jar     *CookieJar
	checker *CookieChecker
	msg     []byte
	src     netip.AddrPort
}

// newCookieEnds returns two ends at time 0 whose message has no cookie yet.
func newCookieEnds(t *testing.T) *cookieEnds {
	t.Helper()
	pk := static(t, 0x22).PubKey()
	c := &cookieEnds{NewCookieJar(pk), NewCookieChecker(pk), make([]byte, 100), netip.MustParseAddrPort("[2001:db8::1]:4000")}
	if err := c.jar.AddMACs(c.msg, 0); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCookieExchange(t *testing.T) {
	c := newCookieEnds(t)
	if !c.checker.CheckMAC1(c.msg) || c.checker.CheckMAC2(c.msg, c.src, 0) {
		t.Fatal("a message without a cookie must pass mac1 and fail mac2")
	}
	reply, err := c.checker.AppendReply([]byte("x"), c.msg, c.src, 0)
	if err != nil || len(reply) != 1+CookieReplyLen || reply[0] != 'x' {
		t.Fatalf("reply = %x, %v", reply, err)
	}
	if err := c.jar.ConsumeReply(reply[1:], sec); err != nil {
		t.Fatal(err)
	}
	if err := c.jar.ConsumeReply(reply[1:], sec); !errors.Is(err, ErrCookie) {
		t.Errorf("a second reply to one message: %v, want %v", err, ErrCookie)
	}
	if err := c.jar.AddMACs(c.msg, 2*sec); err != nil {
		t.Fatal(err)
	}
	if !c.checker.CheckMAC1(c.msg) || !c.checker.CheckMAC2(c.msg, c.src, 2*sec) {
		t.Error("a message with its cookie is refused")
	}
	for _, other := range []string{"[2001:db8::1]:4001", "[2001:db8::2]:4000", "192.0.2.1:4000"} {
		if c.checker.CheckMAC2(c.msg, netip.MustParseAddrPort(other), 2*sec) {
			t.Errorf("the cookie is good for %s too", other)
		}
	}
	if !c.checker.CheckMAC2(c.msg, c.src, CookieLife-1) || c.checker.CheckMAC2(c.msg, c.src, CookieLife) {
		t.Error("the responder's secret does not change when it should")
	}
	if err := c.jar.AddMACs(c.msg, sec+CookieLife); err != nil || !bytes.Equal(c.msg[84:], make([]byte, 16)) {
		t.Errorf("a stale cookie was used: %x, %v", c.msg[84:], err)
	}
}

func TestCookieRefusals(t *testing.T) {
	c := newCookieEnds(t)
	for i := range 8 * (len(c.msg) - macLen) {
		bad := bytes.Clone(c.msg)
		bad[i/8] ^= 1 << (i % 8)
		if c.checker.CheckMAC1(bad) {
			t.Fatalf("bit %d flipped and mac1 holds", i)
		}
	}
	if NewCookieChecker(static(t, 0x11).PubKey()).CheckMAC1(c.msg) {
		t.Error("another responder takes our mac1")
	}
	for n := range MACsLen {
		if c.checker.CheckMAC1(c.msg[:n]) || c.checker.CheckMAC2(c.msg[:n], c.src, 0) {
			t.Errorf("%d bytes have good MACs", n)
		}
		if _, err := c.checker.AppendReply(nil, c.msg[:n], c.src, 0); !errors.Is(err, ErrMessage) {
			t.Errorf("reply to %d bytes: %v", n, err)
		}
		if err := c.jar.AddMACs(c.msg[:n], 0); err == nil {
			t.Errorf("MACs were added to %d bytes", n)
		}
	}
	if c.checker.CheckMAC2(c.msg, netip.AddrPort{}, 0) {
		t.Error("zeros are a good mac2 for no address")
	}
	reply, err := c.checker.AppendReply(nil, c.msg, c.src, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(reply) {
		bad := bytes.Clone(reply)
		bad[i/8] ^= 1 << (i % 8)
		if err := c.jar.ConsumeReply(bad, 0); !errors.Is(err, ErrCookie) {
			t.Fatalf("bit %d flipped: %v, want %v", i, err, ErrCookie)
		}
	}
	c.msg[0] ^= 1
	if err := c.jar.AddMACs(c.msg, 0); err != nil { // the reply is now to an older message
		t.Fatal(err)
	}
	if err := c.jar.ConsumeReply(reply, 0); !errors.Is(err, ErrCookie) {
		t.Errorf("a reply to another message: %v, want %v", err, ErrCookie)
	}
	if err := NewCookieJar(static(t, 0x22).PubKey()).ConsumeReply(reply, 0); !errors.Is(err, ErrCookie) {
		t.Errorf("a reply to nothing: %v, want %v", err, ErrCookie)
	}
	c.checker = NewCookieChecker(static(t, 0x22).PubKey())
	c.checker.random = bytes.NewReader(nil)
	if _, err := c.checker.AppendReply(nil, c.msg, c.src, 0); err == nil || c.checker.CheckMAC2(c.msg, c.src, 0) {
		t.Error("cookies without randomness")
	}
}

func TestCheckMAC1DoesNotAllocate(t *testing.T) {
	c := newCookieEnds(t)
	if n := testing.AllocsPerRun(10, func() {
		for range 100 { // AllocsPerRun floors its mean, so do 100 per run
			if !c.checker.CheckMAC1(c.msg) {
				t.Fatal("mac1 is refused")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per 100 messages, want 0", n)
	}
}

func FuzzCookies(f *testing.F) {
	f.Add(make([]byte, MACsLen), make([]byte, CookieReplyLen))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, msg, reply []byte) {
		pk := static(t, 0x22).PubKey()
		jar, checker := NewCookieJar(pk), NewCookieChecker(pk)
		src := netip.MustParseAddrPort("192.0.2.1:1")
		if checker.CheckMAC2(msg, src, 0) {
			t.Fatal("guessed a cookie")
		}
		checker.CheckMAC1(msg)
		if _, err := checker.AppendReply(nil, msg, src, 0); (err == nil) != (len(msg) >= MACsLen) {
			t.Fatalf("reply to %d bytes: %v", len(msg), err)
		}
		if err := jar.AddMACs(msg, 0); err == nil && !checker.CheckMAC1(msg) {
			t.Fatal("own mac1 is refused")
		}
		if err := jar.ConsumeReply(reply, 0); err == nil {
			t.Fatal("a forged cookie reply was taken")
		}
	})
}

func BenchmarkCheckMAC1(b *testing.B) {
	pk := static(b, 0x22).PubKey()
	checker := NewCookieChecker(pk)
	msg := make([]byte, 176)
	if err := NewCookieJar(pk).AddMACs(msg, 0); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		checker.CheckMAC1(msg)
	}
}
