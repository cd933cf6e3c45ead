package scenario

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// discUpdates is how many updates per second are signed beforehand: more than a
// service makes that verifies each.
const discUpdates = 10_000

// A listing is one client of the discovery.
type listing struct {
	sk    cipher.SecKey
	entry *disc.Entry
	get   []byte // the request for it
}

// newListing makes a client with a signed entry.
func newListing() (*listing, error) {
	pk, sk := cipher.GenerateKeyPair()
	servers := make([]cipher.PubKey, 2)
	for i := range servers {
		servers[i], _ = cipher.GenerateKeyPair()
	}
	l := &listing{sk: sk, entry: disc.NewClient(pk, disc.ClientVisor, servers, time.Now())}
	l.get = fmt.Appendf(nil, "GET /dmsg-discovery/entry/%s HTTP/1.1\r\nHost: disc\r\n\r\n", pk)
	return l, l.entry.Sign(sk)
}

// next returns the entry that follows e.
func (l *listing) next(e *disc.Entry) (*disc.Entry, error) {
	e = e.Clone()
	e.Sequence++
	e.Timestamp++
	return e, e.Sign(l.sk)
}

// publication returns the request that publishes e.
func publication(e *disc.Entry) []byte {
	return fmt.Appendf(nil, "POST /dmsg-discovery/entry/ HTTP/1.1\r\nHost: disc\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(e.Raw()), e.Raw())
}

// An asker is one connection. It publishes some of the listings and looks all up.
type asker struct {
	conn   net.Conn
	r      *bufio.Reader
	answer fasthttp.Response

	own    []*listing
	coming []*disc.Entry // updates, those of own by turns
	times  []float64     // of the requests, in ms
}

func newAsker(addr string) (*asker, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("disc: %w", err)
	}
	return &asker{conn: c, r: bufio.NewReader(c)}, nil
}

// ask makes one request and notes how long it took. The answer stays until the next.
func (a *asker) ask(request []byte) error {
	begin := time.Now()
	if _, err := a.conn.Write(request); err != nil {
		return fmt.Errorf("disc: %w", err)
	}
	if err := a.answer.Read(a.r); err != nil {
		return fmt.Errorf("disc: %w", err)
	}
	a.times = append(a.times, float64(time.Since(begin).Nanoseconds())/1e6)
	if status := a.answer.StatusCode(); status != http.StatusOK {
		return fmt.Errorf("disc: the answer to %q is %d: %s", request, status, a.answer.Body())
	}
	return nil
}

// lookUp asks for random ones of all until end.
func (a *asker) lookUp(all []*listing, end time.Time) error {
	for time.Now().Before(end) {
		l := all[rand.N(len(all))]
		if err := a.check(l); err != nil {
			return err
		}
	}
	return nil
}

// check looks l up and wants to see its entry.
func (a *asker) check(l *listing) error {
	if err := a.ask(l.get); err != nil {
		return err
	}
	if got, want := a.answer.Body(), l.entry.Raw(); !bytes.Equal(got, want) {
		return fmt.Errorf("disc: looked up %s, got %s", want, got)
	}
	return nil
}

// publish lists all of its own for the first time.
func (a *asker) publish() error {
	for _, l := range a.own {
		if err := a.ask(publication(l.entry)); err != nil {
			return err
		}
	}
	return nil
}

// sign prepares n updates.
func (a *asker) sign(n int) (err error) {
	for i := range n {
		l := a.own[i%len(a.own)]
		e := l.entry
		if i >= len(a.own) {
			e = a.coming[i-len(a.own)]
		}
		if e, err = l.next(e); err != nil {
			return err
		}
		a.coming = append(a.coming, e)
	}
	return nil
}

// update publishes what is signed until end.
func (a *asker) update(end time.Time) error {
	for i, e := range a.coming {
		if !time.Now().Before(end) {
			break
		}
		if err := a.ask(publication(e)); err != nil {
			return err
		}
		a.own[i%len(a.own)].entry = e
	}
	return nil
}

// discAsk publishes, looks up, publishes anew, and looks all up once more.
func discAsk(ctx context.Context, cfg discLoadConfig, ready func()) (t discTotals, err error) {
	askers := make([]*asker, cfg.Conns)
	for i := range askers {
		if askers[i], err = newAsker(fmt.Sprintf("127.0.0.1:%d", discPort)); err != nil {
			return t, err
		}
		defer askers[i].conn.Close()
		defer context.AfterFunc(ctx, func() { askers[i].conn.Close() })()
	}
	all := make([]*listing, cfg.Entries)
	for i := range all {
		if all[i], err = newListing(); err != nil {
			return t, err
		}
		a := askers[i%len(askers)]
		a.own = append(a.own, all[i])
	}
	// each lets all askers do something at the same time.
	each := func(f func(a *asker) error) error {
		var g errgroup.Group
		for _, a := range askers {
			g.Go(func() error { return f(a) })
		}
		return g.Wait()
	}
	if err := each((*asker).publish); err != nil {
		return t, err
	}
	length := time.Duration(cfg.Seconds * float64(time.Second))
	updates := int(cfg.Seconds*discUpdates)/cfg.Conns + 1
	if err := each(func(a *asker) error { return a.sign(updates) }); err != nil {
		return t, err
	}
	ready()
	part := func(f func(a *asker, end time.Time) error) (p discPart, err error) {
		for _, a := range askers {
			a.times = a.times[:0]
		}
		cpu, err := cpuOf(cfg.PID)
		if err != nil {
			return p, err
		}
		begin := time.Now()
		err = each(func(a *asker) error { return f(a, begin.Add(length)) })
		p.Seconds = time.Since(begin).Seconds()
		after, cpuErr := cpuOf(cfg.PID)
		p.CPUSeconds = after - cpu
		var times []float64
		for _, a := range askers {
			times = append(times, a.times...)
		}
		if err = errors.Join(err, cpuErr); err != nil {
			return p, err
		}
		p.N = len(times)
		at := percentiles(times, 50, 99)
		p.P50, p.P99 = at[0], at[1]
		return p, nil
	}
	if t.Lookups, err = part(func(a *asker, end time.Time) error { return a.lookUp(all, end) }); err != nil {
		return t, err
	}
	if t.Updates, err = part((*asker).update); err != nil {
		return t, err
	}
	// What was acknowledged is there.
	return t, each(func(a *asker) error {
		for _, l := range a.own {
			if err := a.check(l); err != nil {
				return err
			}
		}
		return nil
	})
}
