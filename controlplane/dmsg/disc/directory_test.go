package disc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// rival is a directory in which somebody else is faster some times.
type rival struct {
	*Static
	faster atomic.Int32
	puts   atomic.Int32
}

func (r *rival) Put(ctx context.Context, e *Entry) error {
	r.puts.Add(1)
	if r.faster.Add(-1) >= 0 {
		return ErrSequence
	}
	return r.Static.Put(ctx, e)
}

func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, sk := keyPair(t, 0x11)
		r := &rival{Static: &Static{}}
		set := func(servers ...cipher.PubKey) func(*Entry) {
			return func(e *Entry) { e.Client = &Client{DelegatedServers: servers} }
		}
		e, err := Update(t.Context(), r, sk, set())
		if err != nil || e.Sequence != 0 || e.Verify() != nil || e.Static != a || e.Timestamp != time.Now().UnixNano() {
			t.Fatalf("first: %+v, %v", e, err)
		}
		r.faster.Store(2)
		if e, err = Update(t.Context(), r, sk, set(a)); err != nil || e.Sequence != 1 || len(e.Client.DelegatedServers) != 1 {
			t.Fatalf("after two rivals: %+v, %v", e, err)
		}
		if waited := time.Since(e.Time()); waited > time.Second {
			t.Errorf("the entry is from %v ago", waited)
		}
		r.puts.Store(0)
		r.faster.Store(1000)
		if _, err := Update(t.Context(), r, sk, set()); !errors.Is(err, ErrSequence) || r.puts.Load() != updateTries {
			t.Errorf("with a rival that is always faster: %v after %d tries", err, r.puts.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		r.faster.Store(1000)
		if _, err := Update(ctx, r, sk, set()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("out of time: %v", err)
		}
		// A clock that was set back does not keep the entry from being newer.
		r.faster.Store(0)
		ahead := NewClient(a, "", nil, time.Now().Add(time.Hour))
		ahead.Sequence = 7
		if err := ahead.Sign(sk); err != nil {
			t.Fatal(err)
		}
		r.Add(ahead)
		if e, err := Update(t.Context(), r, sk, set()); err != nil || e.Timestamp <= ahead.Timestamp || e.Sequence != 8 {
			t.Errorf("after the clock was set back: %+v, %v", e, err)
		}
	})
}

func TestStatic(t *testing.T) {
	a, skA := keyPair(t, 0x11)
	b, _ := keyPair(t, 0x22)
	c, _ := keyPair(t, 0x33)
	ctx := t.Context()
	s := &Static{}
	if _, err := s.AllServers(ctx); !errors.Is(err, ErrNoServers) {
		t.Error(err)
	}
	s.Add(NewServer(b, "1.2.3.4:1", 0, time.Now()))
	if _, err := s.AvailableServers(ctx); !errors.Is(err, ErrNoServers) {
		t.Error(err)
	}
	s.Add(NewServer(c, "1.2.3.4:2", 2, time.Now()))
	s.Add(NewServer(a, "1.2.3.4:3", 9, time.Now()))
	list, err := s.AvailableServers(ctx)
	if err != nil || len(list) != 2 || list[0].Static != a {
		t.Errorf("%v, %v", list, err)
	}
	e := NewClient(a, "", nil, time.Now())
	if err := s.Put(ctx, e); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("unsigned: %v", err)
	}
	if err := e.Sign(skA); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, e); !errors.Is(err, ErrSequence) {
		t.Errorf("same sequence: %v", err)
	}
	e = e.Clone()
	e.Sequence = 1
	if err := e.Sign(skA); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, e); err != nil {
		t.Error(err)
	}
	old, _ := Parse([]byte(goldenClient))
	if err := s.Delete(ctx, old); !errors.Is(err, ErrSequence) {
		t.Errorf("deleted by an older entry: %v", err)
	}
	if err := s.Delete(ctx, e); err != nil {
		t.Error(err)
	}
	if _, err := s.Entry(ctx, a); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestBoot(t *testing.T) {
	a, _ := keyPair(t, 0x11)
	b, _ := keyPair(t, 0x22)
	file := `{"test": {"dmsg_servers": []}, "prod": {"dmsg_servers": [{"static": "` + b.String() + `", "server": {"address": "192.0.2.1:8081"}}],
		"dmsg_discovery": "dmsg://` + a.String() + `:80", "service_discovery": "dmsg://x:80"}, "more": 1}`
	boot, err := ParseBoot([]byte(file), false)
	if err != nil || boot.DmsgDiscovery != "dmsg://"+a.String()+":80" || boot.ServiceDiscovery != "dmsg://x:80" {
		t.Fatalf("%+v, %v", boot, err)
	}
	d := boot.Directory(a)
	servers, err := d.AvailableServers(t.Context())
	if err != nil || len(servers) != 1 || servers[0].Server.Address != "192.0.2.1:8081" {
		t.Errorf("%v, %v", servers, err)
	}
	if e, err := d.Entry(t.Context(), a); err != nil || len(e.Client.DelegatedServers) != 1 || e.Client.DelegatedServers[0] != b {
		t.Errorf("%+v, %v", e, err)
	}
	for _, bad := range []string{
		``, `[]`, file[:50], `{"prod": {}}`,
		`{"prod": {"dmsg_servers": [{"server": {"address": "x:1"}}]}}`,
		`{"prod": {"dmsg_servers": [{"static": "` + b.String() + `", "server": {"address": "x"}}]}}`,
	} {
		if _, err := ParseBoot([]byte(bad), false); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if _, err := ParseBoot([]byte(file), true); err == nil {
		t.Error("a deployment without servers is taken")
	}
}
