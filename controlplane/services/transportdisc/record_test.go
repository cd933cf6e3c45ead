package transportdisc

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/seat"
	"github.com/skyminer/skywire/controlplane/store"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// testKey returns the n-th key of a test.
func testKey(t testing.TB, n byte) cipher.PubKey {
	t.Helper()
	pk, err := cipher.SecKey{31: n}.PubKey()
	if err != nil {
		t.Fatal(err)
	}
	return pk
}

// samples are records of each kind, by their keys.
func samples(t testing.TB) map[string]record {
	a, b := testKey(t, 1), testKey(t, 2)
	tr := deployment.NewTransport(a, b, "stcpr", "user")
	return map[string]record{
		beatKey(a): {beat: &beat{
			seat:  seat.Seat{ID: "0123456789abcdef", Started: 1_800_000_000, From: "a public IPv4 address"},
			stats: []deployment.TransportStats{{ID: tr.ID, RTTMicros: 1234, LossPPM: 5, Mbps: 12.5, SentBytes: 1 << 60, RecvBytes: 3}},
		}},
		halfKey(a, 7): {half: &halves{instance: "x", list: []half{
			{other: b, typ: "stcpr", label: "user", registered: 5, sigs: [2]cipher.Sig{{1}, {2}}, id: tr.ID},
			{other: b, typ: "odd", sigs: [2]cipher.Sig{{}, {2}}, id: deployment.NewTransportID(a, b, "odd")},
		}}},
		oldKey(tr.ID): {old: &oldEntry{deployment.SignedTransport{Transport: tr, Signatures: [2]cipher.Sig{{3}, {4}}, Registered: 9}}},
	}
}

func encode(r record) []byte {
	switch {
	case r.beat != nil:
		return r.beat.encode()
	case r.half != nil:
		return r.half.encode()
	}
	return r.old.encode()
}

func TestRecords(t *testing.T) {
	for key, want := range samples(t) {
		b := encode(want)
		got, err := decode(key, b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", key, got, err, want)
		}
		for n := range b {
			if got, err := decode(key, b[:n]); err == nil {
				t.Fatalf("%s: the first %d bytes are %+v", key, n, got)
			}
		}
		if _, err := decode(key, append(b, 0)); err == nil {
			t.Errorf("%s: one byte more is taken", key)
		}
	}
	for _, key := range []string{"", "beat", "beat/", "beat/x", "half/" + testKey(t, 1).String(), "half/" + testKey(t, 1).String() + "/x", "old/x", "new/"} {
		if _, err := decode(key, []byte{format}); err == nil {
			t.Errorf("key %q is taken", key)
		}
	}
}

// The largest records that can come about fit into the store.
func TestRecordsFit(t *testing.T) {
	long := "abcdefghijklmnop"
	h := halves{instance: long + long}
	for range maxHalves {
		h.list = append(h.list, half{other: testKey(t, 1), typ: long, label: long, sigs: [2]cipher.Sig{{1}, {1}}})
	}
	if n := len(h.encode()); n > store.MaxValue {
		t.Errorf("halves of %d bytes", n)
	}
	b := beat{seat: seat.Seat{ID: long + long, From: "the machine of the service itself"}, stats: make([]deployment.TransportStats, 4*maxHalves)}
	if n := len(b.encode()); n > store.MaxValue {
		t.Errorf("a beat of %d bytes", n)
	}
}

func FuzzDecode(f *testing.F) {
	for key, r := range samples(f) {
		f.Add(key, encode(r))
	}
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		r, err := decode(key, b)
		if err != nil {
			return
		}
		again, err := decode(key, encode(r))
		if err != nil || !bytes.Equal(encode(again), encode(r)) {
			t.Errorf("%q: %v", key, err)
		}
	})
}

// The list that is written by hand is what encoding/json would write.
func TestAppendEntry(t *testing.T) {
	for _, r := range samples(t) {
		if r.old == nil {
			continue
		}
		e := r.old.SignedTransport
		for _, stats := range []*deployment.TransportStats{nil, {ID: e.ID, RTTMicros: 5, LossPPM: 7, Mbps: 0.1, SentBytes: 1, RecvBytes: 2}, {Mbps: 123456}} {
			e.Stats = stats
			want, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if got := appendEntry(nil, &e); !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			e.Registered = 0
		}
	}
}

// Whatever comes and goes in whichever order, the index lists what a look at all
// records says.
func TestIndexModel(t *testing.T) {
	const seed = 3
	rnd := rand.New(rand.NewPCG(seed, seed))
	keys := []cipher.PubKey{testKey(t, 1), testKey(t, 2), testKey(t, 3)}
	x := NewIndex(nil, nil, nopLog())
	heard := make(map[deployment.TransportID]bool)
	x.Listen(func(tr deployment.Transport, _ *deployment.TransportStats, listed bool) {
		if delete(heard, tr.ID); listed {
			heard[tr.ID] = true
		}
	})
	records := make(map[string]record)
	instances := []string{"a", "b"}
	for round := range 20_000 {
		pk, other := keys[rnd.IntN(3)], keys[rnd.IntN(3)]
		typ := []string{"stcpr", "sudph"}[rnd.IntN(2)]
		tr := deployment.NewTransport(keys[0], keys[1], typ, "")
		var key string
		var r record
		switch rnd.IntN(5) {
		case 0, 1:
			key = beatKey(pk)
			r.beat = &beat{seat: seat.Seat{ID: instances[rnd.IntN(2)]}, stats: []deployment.TransportStats{{ID: tr.ID, RTTMicros: rnd.Int64N(5000)}}}
		case 2, 3:
			key = halfKey(pk, rnd.IntN(2))
			r.half = &halves{instance: instances[rnd.IntN(2)]}
			for _, o := range keys {
				if o == pk || rnd.IntN(2) == 0 {
					continue
				}
				h := half{other: o, typ: typ, id: deployment.NewTransportID(pk, o, typ)}
				for i := range h.sigs {
					h.sigs[i][0] = byte(rnd.IntN(2))
				}
				r.half.list = append(r.half.list, h)
			}
		case 4:
			if pk == other {
				continue
			}
			tr = deployment.NewTransport(pk, other, typ, "")
			key = oldKey(tr.ID)
			r.old = &oldEntry{deployment.SignedTransport{Transport: tr}}
		}
		if rnd.IntN(3) == 0 {
			delete(records, key)
			x.changed(key, record{}, false)
		} else {
			// As the service does it: an id is in one part only.
			if r.half != nil {
				for n := range 2 {
					k := halfKey(pk, n)
					if k == key {
						continue
					}
					if o, ok := records[k]; ok && o.half.instance != "" {
						delete(records, k)
						x.changed(k, record{}, false)
					}
				}
			}
			records[key] = r
			x.changed(key, r, true)
		}
		if round%7 == 0 {
			checkIndex(t, x, records, heard)
		}
	}
	for key := range records {
		x.changed(key, record{}, false)
	}
	if len(x.visors) != 0 || len(x.transports) != 0 || x.halves != 0 || x.listed != 0 || len(heard) != 0 {
		t.Errorf("left behind: %d visors, %d transports, %d halves, %d listed, %d heard", len(x.visors), len(x.transports), x.halves, x.listed, len(heard))
	}
}

// checkIndex compares x with what all records together say.
func checkIndex(t *testing.T, x *Index, records map[string]record, heard map[deployment.TransportID]bool) {
	t.Helper()
	alive := make(map[cipher.PubKey]string)
	for key, r := range records {
		if r.beat != nil {
			_, pk, _, _, _ := parseKey(key)
			alive[pk] = r.beat.seat.ID
		}
	}
	want := make(map[deployment.TransportID]bool)
	sigs := make(map[deployment.TransportID][2]bool)
	halves := 0
	for key, r := range records {
		_, pk, _, _, _ := parseKey(key)
		if r.old != nil {
			want[r.old.ID] = true
		}
		if r.half == nil {
			continue
		}
		for _, h := range r.half.list {
			halves++
			_, there := alive[h.other]
			if alive[pk] != r.half.instance || !there {
				continue
			}
			got := sigs[h.id]
			for i, s := range h.sigs {
				got[i] = got[i] || s != cipher.Sig{}
			}
			if sigs[h.id] = got; got[0] && got[1] {
				want[h.id] = true
			}
		}
	}
	if !reflect.DeepEqual(want, heard) {
		t.Fatalf("heard of %v, want %v", heard, want)
	}
	if x.listed != len(want) || x.halves != halves {
		t.Fatalf("counts %d listed and %d halves, want %d and %d", x.listed, x.halves, len(want), halves)
	}
	for id := range want {
		if _, ok := x.Transport(id); !ok {
			t.Fatalf("%s is not given out", id)
		}
	}
}
