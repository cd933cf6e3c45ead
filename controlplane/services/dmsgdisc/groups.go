package dmsgdisc

import (
	"maps"
	"slices"
	"sync"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// groups are clients by the servers that reach them, each in the order of keys.
type groups struct {
	of    map[cipher.PubKey][]*item
	bytes int // of them all

	mu   sync.Mutex
	made map[cipher.PubKey]answer // those that were asked for
	left int                      // how many bytes of them may still be made
}

func (g *groups) size() int { return g.bytes }

// answer returns the clients of pk. Who asks for the same shares it: a list for each
// request would let few callers fill the memory.
func (g *groups) answer(pk cipher.PubKey) answer {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.of[pk]) == 0 {
		return newAnswer([]byte("[]")) // of whom there is no end
	}
	a, ok := g.made[pk]
	if !ok {
		a = newAnswer(joinEntries(g.of[pk]))
		if a.size() > g.left {
			return answer{} // until all of them are made anew
		}
		g.left -= a.size()
		g.made[pk] = a
	}
	return a
}

// isReachable says whether some server reaches the client.
func isReachable(it *item) bool { return it.client && len(it.delegated) > 0 }

// groupByServer sorts items into groups.
func groupByServer(items []*item) *groups {
	slices.SortFunc(items, byKey)
	g := &groups{of: make(map[cipher.PubKey][]*item), made: make(map[cipher.PubKey]answer), left: maxListBody}
	for _, it := range items {
		for _, pk := range it.delegated {
			if of := g.of[pk]; len(of) > 0 && of[len(of)-1] == it {
				continue // the client names the server twice
			}
			g.of[pk] = append(g.of[pk], it)
			g.bytes += len(it.raw) + 1
		}
	}
	return g
}

// write writes an object of lists of entries, or nil if it were too long.
func (g *groups) write() []byte {
	servers := slices.SortedFunc(maps.Keys(g.of), cipher.PubKey.Compare)
	size := 2 + g.bytes + len(servers)*(2*cipher.PubKeyLen+6)
	if size > maxListBody {
		return nil
	}
	b := make([]byte, 0, size)
	b = append(b, '{')
	for i, pk := range servers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b, _ = pk.AppendText(b)
		b = append(b, '"', ':')
		b = append(b, joinEntries(g.of[pk])...)
	}
	return append(b, '}')
}
