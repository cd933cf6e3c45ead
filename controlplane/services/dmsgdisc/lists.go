package dmsgdisc

import (
	"bytes"
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// maxAvailable is the most servers of one answer.
	maxAvailable = 512
	// A list of more than smallList entries may be out of date for longListAge, so
	// that writes and look-ups in turn do not make it anew each time.
	smallList   = 4096
	longListAge = time.Second
	// maxListBody bounds a list, in bytes.
	maxListBody = 64 << 20
)

// lists are the answers that are made of many entries.
type lists struct {
	available, all, clients, visors, byServer list
}

// A list is an answer and what it was made of.
type list struct {
	mu      sync.Mutex
	made    time.Time // zero: never
	entries int
	servers uint64 // counts of the mirror's changes
	clients uint64
	expires time.Time // when the first of its entries does; zero: none does
	body    []byte    // nil: too long
	etag    []byte
}

// A source of a list: which items, and how they become an answer.
type source struct {
	servers, clients bool // of whose changes it depends
	want             func(*item) bool
	write            func([]*item) []byte
}

// sourceOf returns what l is made of.
func (s *Service) sourceOf(l *list) source {
	switch l {
	case &s.lists.available:
		return source{true, false, func(it *item) bool { return it.server && it.available > 0 }, writeAvailable}
	case &s.lists.all:
		return source{true, false, func(it *item) bool { return it.server }, writeEntries}
	case &s.lists.visors:
		return source{false, true, func(it *item) bool { return it.visor }, writeKeys}
	case &s.lists.byServer:
		return source{false, true, func(it *item) bool { return it.client && len(it.delegated) > 0 }, writeByServer}
	default:
		return source{false, true, func(it *item) bool { return it.client }, writeKeys}
	}
}

// current returns l's answer, made anew if it is out of date.
func (s *Service) current(l *list) (body, etag []byte, entries int) {
	src := s.sourceOf(l)
	now := s.o.Now()
	servers, clients := s.mirror.counts()
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.made.IsZero() || src.servers && l.servers != servers || src.clients && l.clients != clients ||
		!l.expires.IsZero() && !now.Before(l.expires)
	if l.entries > smallList && now.Sub(l.made) < longListAge {
		old = false
	}
	if old {
		var items []*item
		items, l.servers, l.clients = s.mirror.collect(now, src.want)
		l.made, l.entries, l.expires = now, len(items), firstExpiry(items)
		l.body = src.write(items)
		l.etag = etagOf(l.body)
	}
	return l.body, l.etag, l.entries
}

func firstExpiry(items []*item) (first time.Time) {
	for _, it := range items {
		if !it.expires.IsZero() && (first.IsZero() || it.expires.Before(first)) {
			first = it.expires
		}
	}
	return first
}

// list answers with l.
func (c *call) list(l *list) {
	body, etag, n := c.s.current(l)
	switch {
	case body == nil:
		c.refuse(errHeavy)
	case n == 0 && (l == &c.s.lists.available || l == &c.s.lists.all):
		c.refuse(disc.ErrNoServers)
	default:
		c.tagged(body, etag)
	}
}

// clientsOf answers GET server/{pk}/clients.
func (c *call) clientsOf(text string) {
	pk, err := cipher.ParsePubKeyText(text)
	if err != nil {
		c.refuse(disc.ErrBadInput)
		return
	}
	items, _, _ := c.s.mirror.collect(c.s.o.Now(), func(it *item) bool { return it.reachedBy(pk) })
	body := writeEntries(items)
	if body == nil {
		c.refuse(errHeavy)
		return
	}
	c.tagged(body, etagOf(body))
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

// writeByServer writes an object of lists of entries, by the keys of their servers.
func writeByServer(items []*item) []byte {
	slices.SortFunc(items, byKey)
	size := 2
	groups := make(map[cipher.PubKey][]*item)
	for _, it := range items {
		for _, pk := range it.delegated {
			if g := groups[pk]; len(g) > 0 && g[len(g)-1] == it {
				continue // names a server twice
			}
			groups[pk] = append(groups[pk], it)
			size += len(it.raw) + 1
		}
	}
	size += len(groups) * (2*cipher.PubKeyLen + 6)
	if size > maxListBody {
		return nil
	}
	servers := make([]cipher.PubKey, 0, len(groups))
	for pk := range groups {
		servers = append(servers, pk)
	}
	slices.SortFunc(servers, cipher.PubKey.Compare)
	b := make([]byte, 0, size)
	b = append(b, '{')
	for i, pk := range servers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b, _ = pk.AppendText(b)
		b = append(b, '"', ':')
		b = append(b, joinEntries(groups[pk])...)
	}
	return append(b, '}')
}

// writeAvailable writes servers with room, those with the most of it first. Of too
// many it takes some at random, each as likely as it has room.
func writeAvailable(items []*item) []byte {
	if len(items) > maxAvailable {
		items = sample(items, maxAvailable)
	}
	slices.SortFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(b.available, a.available), byKey(a, b))
	})
	return joinEntries(items)
}

// sample returns n of items at random, weighted by their room (A-ES of Efraimidis
// and Spirakis, 2006: those with the largest u^(1/weight)). It shuffles items.
func sample(items []*item, n int) []*item {
	rank := make(map[*item]float64, len(items))
	for _, it := range items {
		rank[it] = math.Log(1-rand.Float64()) / float64(it.available)
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(rank[b], rank[a]) })
	return items[:n]
}
