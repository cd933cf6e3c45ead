package dmsgdisc

import (
	"slices"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// groups are clients by the servers that reach them, each in the order of keys.
type groups map[cipher.PubKey][]*item

// isReachable says whether some server reaches the client.
func isReachable(it *item) bool { return it.client && len(it.delegated) > 0 }

// groupByServer sorts items into groups.
func groupByServer(items []*item) groups {
	slices.SortFunc(items, byKey)
	g := make(groups)
	for _, it := range items {
		for _, pk := range it.delegated {
			if of := g[pk]; len(of) > 0 && of[len(of)-1] == it {
				continue // the client names the server twice
			}
			g[pk] = append(g[pk], it)
		}
	}
	return g
}

// writeGroups writes an object of lists of entries, or nil if it were too long.
func writeGroups(g groups) []byte {
	size := 2
	servers := make([]cipher.PubKey, 0, len(g))
	for pk, items := range g {
		servers = append(servers, pk)
		size += 2*cipher.PubKeyLen + 6
		for _, it := range items {
			size += len(it.raw) + 1
		}
	}
	if size > maxListBody {
		return nil
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
		b = append(b, joinEntries(g[pk])...)
	}
	return append(b, '}')
}
