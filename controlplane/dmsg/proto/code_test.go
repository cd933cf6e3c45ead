package proto

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	known := map[Code]bool{}
	for _, c := range []Code{
		ErrNoEntry, ErrNotServer, ErrNotClient, ErrNoServers, ErrClosed, ErrSessionClosed, ErrUnreachable, ErrSurplus,
		ErrReqSignature, ErrReqTimestamp, ErrReqSrcKey, ErrReqDstKey, ErrReqSrcPort, ErrReqDstPort, ErrNoListener, ErrNoSession,
		ErrCapacity, ErrRespSignature, ErrRespHash, ErrRefused, ErrMalformed, ErrPortInUse, ErrAcceptQueueFull,
	} {
		known[c] = true
	}
	if len(known) != 23 {
		t.Fatalf("%d codes", len(known))
	}
	texts := map[string]Code{}
	for n := range 1 << 16 {
		c := Code(n)
		err := ErrorOf(c)
		if !strings.HasPrefix(err.Error(), "dmsg: ") || !strings.Contains(err.Error(), fmt.Sprint(n)) {
			t.Fatalf("%d: text %q", n, err)
		}
		if c.Known() != known[c] {
			t.Fatalf("%d: known is %v", n, c.Known())
		}
		if !known[c] {
			if !errors.Is(err, ErrRefused) {
				t.Fatalf("%d: %v, want %v", n, err, ErrRefused)
			}
			continue
		}
		if err != c {
			t.Errorf("%d: %v", n, err)
		}
		if other, twice := texts[c.text()]; twice {
			t.Errorf("%d and %d are both %q", c, other, c.text())
		}
		texts[c.text()] = c
		if want := c == 306 || c == 308 || c == 401; c.Temporary() != want {
			t.Errorf("%d: temporary is %v", n, c.Temporary())
		}
	}
}

func TestCodeSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("dial: %w", fmt.Errorf("%w: more", ErrNoSession))
	var c Code
	if !errors.Is(err, ErrNoSession) || errors.Is(err, ErrNoListener) || !errors.As(err, &c) || c != 307 {
		t.Errorf("%v, code %d", err, c)
	}
}
