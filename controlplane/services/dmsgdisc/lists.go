package dmsgdisc

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// What is made of more than smallList entries may be out of date for longListAge,
	// so that writes and look-ups in turn do not make it anew each time.
	smallList   = 4096
	longListAge = time.Second
	// What takes more than lightBody bytes is made anew more rarely still: each one that
	// was made stays in memory until the slowest who asked for it has it, and that may
	// be somebody who wants just that.
	lightBody    = 1 << 20
	heavyListAge = 5 * time.Second
	// maxListBody bounds an answer, in bytes, and all those about one server each.
	maxListBody = 32 << 20
)

// lists are the answers that are made of many entries.
type lists struct {
	available, all, clients, visors, byServer digest[answer]
	groups                                    digest[*groups]
	census                                    digest[census]
}

// A digest is what was made of some entries, until these change. The zero value is
// empty.
type digest[T sized] struct {
	mu      sync.Mutex
	made    time.Time // zero: never
	n       int       // of how many entries
	changes uint64    // of the mirror, when it was made
	expires time.Time // when the first of the entries does; zero: none does
	value   T
}

// sized is what tells how many bytes of answers it is, or may become.
type sized interface{ size() int }

// hold returns for how long the value is good whatever changes. mu is held.
func (d *digest[T]) hold() time.Duration {
	switch {
	case d.made.IsZero():
		return 0
	case d.value.size() > lightBody:
		return heavyListAge
	case d.n > smallList:
		return longListAge
	}
	return 0
}

// kind says whose changes make a digest out of date.
type kind uint8

const (
	ofServers kind = 1 << iota
	ofClients
)

// digested returns d's value and of how many entries it is, made anew of those that
// want says yes to if it is out of date.
func digested[T sized](s *Service, d *digest[T], k kind, want func(*item) bool, build func([]*item) T) (T, int) {
	now := s.o.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	changes := s.mirror.changes(k)
	old := d.made.IsZero() || d.changes != changes || !d.expires.IsZero() && !now.Before(d.expires)
	if now.Sub(d.made) < d.hold() {
		old = false
	}
	if old {
		items := s.mirror.collect(now, want)
		// Changes after the count make it anew once more; those before are in it.
		d.made, d.changes, d.n, d.expires = now, changes, len(items), firstExpiry(items)
		d.value = build(items)
	}
	return d.value, d.n
}

func firstExpiry(items []*item) (first time.Time) {
	for _, it := range items {
		if !it.expires.IsZero() && (first.IsZero() || it.expires.Before(first)) {
			first = it.expires
		}
	}
	return first
}

// availableServers answers GET available_servers.
func (c *call) availableServers() {
	c.servers(digested(c.s, &c.s.lists.available, ofServers,
		func(it *item) bool { return it.server && it.available > 0 },
		func(items []*item) answer { return newAnswer(writeAvailable(items)) }))
}

// allServers answers GET all_servers.
func (c *call) allServers() {
	c.servers(digested(c.s, &c.s.lists.all, ofServers,
		func(it *item) bool { return it.server },
		func(items []*item) answer { return newAnswer(writeEntries(items)) }))
}

// servers answers with a list of n servers.
func (c *call) servers(a answer, n int) {
	if n == 0 {
		c.refuse(disc.ErrNoServers)
		return
	}
	c.answer(a)
}

// clientKeys answers GET entries.
func (c *call) clientKeys() {
	a, _ := digested(c.s, &c.s.lists.clients, ofClients,
		func(it *item) bool { return it.client },
		func(items []*item) answer { return newAnswer(writeKeys(items)) })
	c.answer(a)
}

// visorKeys answers GET visorEntries.
func (c *call) visorKeys() {
	a, _ := digested(c.s, &c.s.lists.visors, ofClients,
		func(it *item) bool { return it.visor },
		func(items []*item) answer { return newAnswer(writeKeys(items)) })
	c.answer(a)
}

// clientsByServer answers GET servers/clients.
func (c *call) clientsByServer() {
	a, _ := digested(c.s, &c.s.lists.byServer, ofClients, isReachable,
		func(items []*item) answer { return newAnswer(groupByServer(items).write()) })
	c.answer(a)
}

// clientsOf answers GET server/{pk}/clients.
func (c *call) clientsOf(text string) {
	pk, err := cipher.ParsePubKeyText(text)
	if err != nil {
		c.refuse(disc.ErrBadInput)
		return
	}
	g, _ := digested(c.s, &c.s.lists.groups, ofClients, isReachable, groupByServer)
	c.answer(g.answer(pk))
}

// byKey sorts items, so that the same ones make the same answer.
func byKey(a, b *item) int { return a.pk.Compare(b.pk) }

// writeEntries writes a list of entries, or nil if it were too long.
func writeEntries(items []*item) []byte {
	slices.SortFunc(items, byKey)
	return joinEntries(items)
}

func joinEntries(items []*item) []byte {
	size := 2
	for _, it := range items {
		size += len(it.raw) + 1
	}
	if size > maxListBody {
		return nil
	}
	b := make([]byte, 0, size)
	b = append(b, '[')
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it.raw...)
	}
	return append(b, ']')
}

// writeKeys writes a list of keys.
func writeKeys(items []*item) []byte {
	slices.SortFunc(items, byKey)
	var b bytes.Buffer
	b.Grow(2 + len(items)*(2*cipher.PubKeyLen+3))
	b.WriteByte('[')
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		text, _ := it.pk.AppendText(b.AvailableBuffer())
		b.Write(text)
		b.WriteByte('"')
	}
	b.WriteByte(']')
	return b.Bytes()
}
