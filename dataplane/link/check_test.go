package link

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// reports keeps what OnLink is told.
type reports struct {
	mu  sync.Mutex
	all []string
	why error // of the last link that went down
}

func (r *reports) onLink(_ *Link, up bool, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprint(up))
	if !up {
		r.why = why
	}
}

func (r *reports) are(want ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.all) == fmt.Sprint(want)
}

// TestCheck: a link that answers stays, one that does not is gone within the time that
// was given, long before silence alone would show it, and is back at once.
func TestCheck(t *testing.T) {
	t.Parallel()
	told := &reports{}
	an, bn := newNode(t, func(c *Config) { c.OnLink = told.onLink }), newNode(t, nil)
	p, ab, _ := through(t, an, bn)
	asked := func() bool {
		ab.mu.Lock()
		defer ab.mu.Unlock()
		return ab.state.check.until != 0
	}
	an.Check(8 * time.Second)
	until(t, 8*time.Second, "the reply", func() bool { return !asked() })
	if !ab.Up() || !told.are("true") {
		t.Fatalf("a link that answers went down: %v", told.all)
	}

	p.setMangle(func(bool, []byte) [][]byte { return nil })
	began := time.Now()
	an.Check(time.Second)
	an.Check(time.Minute) // does not put it off
	until(t, 8*time.Second, "the link to go down", func() bool { return !ab.Up() })
	if took := time.Since(began); took < time.Second {
		t.Errorf("given up after %v, want not before a second", took)
	}
	p.setMangle(pass)
	until(t, 10*time.Second, "the link to be back", func() bool { return ab.Up() && told.are("true", "false", "true") })
	if !errors.Is(told.why, ErrLost) {
		t.Errorf("went down with %v, want ErrLost", told.why)
	}
	if asked() {
		t.Error("the check goes on with the next connection")
	}
}

// TestCheckHurries: a link that is down, and in no hurry any more, tries again at once.
func TestCheckHurries(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, nil), newNode(t, nil)
	p := newProxy(t, b.UDPAddr())
	p.setMangle(func(bool, []byte) [][]byte { return nil })
	l, err := a.AddLink(b.pk, SUDPH, p.addr())
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.state.began, l.state.next = a.Now()-2*patience, a.Now()+1000*second
	l.mu.Unlock()
	p.setMangle(pass)
	a.Check(time.Second)
	until(t, 15*time.Second, "the link to come up", l.Up)
}

func TestCheckRules(t *testing.T) {
	c := check{token: 5, until: 100, every: 10}
	c.passed(4) // the reply to a probe from before
	for _, v := range []struct {
		now, sent     int64
		probe, failed bool
	}{{50, 45, false, false}, {55, 45, true, false}, {100, 95, false, true}} {
		if probe, failed := c.due(v.now, v.sent); probe != v.probe || failed != v.failed {
			t.Errorf("due(%d, %d) = %v, %v", v.now, v.sent, probe, failed)
		}
	}
	c.passed(6)
	if probe, failed := c.due(200, 0); probe || failed {
		t.Error("a check that was passed goes on")
	}
}
