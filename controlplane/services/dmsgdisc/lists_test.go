package dmsgdisc

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Of too many servers those with room are preferred, and the answer begins with
// those that have the most.
func TestTooManyServers(t *testing.T) {
	const many = 2 * maxAvailable
	chosen := map[bool]int{} // by whether the server has much room
	for range 20 {
		var items []*item
		for n := range many {
			it := entryItem(n, 1, time.Time{})
			it.server, it.available = true, 1
			if n%2 == 0 {
				it.available = 100
			}
			raw, _ := json.Marshal(map[string]int{"n": n, "available": it.available})
			it.raw = raw
			items = append(items, it)
		}
		var got []struct{ N, Available int }
		if err := json.Unmarshal(writeAvailable(items), &got); err != nil || len(got) != maxAvailable {
			t.Fatalf("%d servers, %v; want %d", len(got), err, maxAvailable)
		}
		seen := map[int]bool{}
		for i, s := range got {
			if i > 0 && s.Available > got[i-1].Available || seen[s.N] {
				t.Fatal("not in the order of room, or a server twice")
			}
			seen[s.N] = true
			chosen[s.Available > 1]++
		}
	}
	if chosen[true] < 10*chosen[false] || chosen[false] == 0 {
		t.Errorf("%d with much room, %d with little; want many of the one and some of the other", chosen[true], chosen[false])
	}
}

func TestLongListsWait(t *testing.T) {
	c := newClock()
	s := &Service{o: noLimits(c), mirror: newMirror()}
	for n := range smallList + 1 {
		s.mirror.put(entryItem(n, 1, time.Time{}))
	}
	count := func() int {
		var keys []string
		body, _ := digested(s, &s.lists.clients, ofClients, func(*item) bool { return true }, writeKeysAnswer)
		if err := json.Unmarshal(body.JSON(), &keys); err != nil || !slices.IsSorted(keys) {
			t.Fatalf("%v; the keys are in order: %v", err, slices.IsSorted(keys))
		}
		return len(keys)
	}
	first := count()
	s.mirror.put(entryItem(smallList+1, 1, time.Time{}))
	if n := count(); n != first {
		t.Errorf("a long list is made anew for each change: %d", n)
	}
	c.add(longListAge)
	if n := count(); n != first+1 {
		t.Errorf("%d keys after a while, want %d", n, first+1)
	}
}

// Long answers live until the slowest caller has them, so that few of them may be
// made, however often entries change and whatever server is asked about.
func TestHeavyListsAreShared(t *testing.T) {
	c := newClock()
	s := &Service{o: noLimits(c), mirror: newMirror()}
	add := func(n int) {
		it := entryItem(n, 1, time.Time{})
		it.raw, it.delegated = bytes.Repeat([]byte{'1'}, lightBody), []cipher.PubKey{key(1), key(2)}
		s.mirror.put(it)
	}
	clients := func(server int) answer {
		g, _ := digested(s, &s.lists.groups, ofClients, isReachable, groupByServer)
		return g.answer(key(server))
	}
	many := maxListBody/lightBody - 2
	for n := range many {
		add(n + 10)
	}
	first := clients(1)
	if len(first.JSON()) < many*lightBody {
		t.Fatalf("%d bytes", len(first.JSON()))
	}
	add(5)
	if again := clients(1); &again.JSON()[0] != &first.JSON()[0] {
		t.Error("a long list is made anew for each request, or for each change")
	}
	if other := clients(2); other.Body != nil {
		t.Error("there are more long lists at a time than fit")
	}
	if none := clients(3); string(none.JSON()) != "[]" {
		t.Errorf("the clients of a server without any: %s", none.JSON())
	}
	c.add(heavyListAge)
	if other := clients(2); len(other.JSON()) <= len(first.JSON()) {
		t.Error("the lists do not change any more")
	}
}

func writeKeysAnswer(items []*item) answer { return newAnswer(writeKeys(items)) }

func TestClientsByServer(t *testing.T) {
	a, b := key(1), key(2)
	one, two := entryItem(10, 1, time.Time{}), entryItem(11, 1, time.Time{})
	one.raw, one.delegated = []byte(`{"n":1}`), []cipher.PubKey{b, a, b}
	two.raw, two.delegated = []byte(`{"n":2}`), []cipher.PubKey{b}
	got := string(groupByServer([]*item{two, one}).write())
	want := `{"` + a.String() + `":[{"n":1}],"` + b.String() + `":[{"n":1},{"n":2}]}`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
