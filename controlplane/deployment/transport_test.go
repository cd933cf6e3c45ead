package deployment

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// The keys of the specification's vectors, the smaller first.
const (
	specA = "02466d7fcae563e5cb09a0d1870bb580344804617879a14949cf22285f1bae3f27"
	specB = "034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
)

func specKeys(t *testing.T) (a, b cipher.PubKey) {
	t.Helper()
	a, errA := cipher.ParsePubKeyText(specA)
	b, errB := cipher.ParsePubKeyText(specB)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	return a, b
}

// The ids are those of the specification, section 3, which were made by the deployed
// software.
func TestTransportID(t *testing.T) {
	a, b := specKeys(t)
	for typ, want := range map[string]string{
		TypeSTCPR: "30461d17-c78a-0dc8-9f55-c4f06d82c1d6",
		TypeSUDPH: "6ebf0b7b-a83f-0e8c-9458-d8a6f78e7f07",
		TypeSTCP:  "bfcfd950-5558-0f03-aba0-41fb48c6b4ea",
		TypeDmsg:  "f5714251-105e-0280-aace-6e174bc16113",
	} {
		for _, tr := range []Transport{NewTransport(a, b, typ, ""), NewTransport(b, a, typ, "")} {
			if tr.ID.String() != want || tr.Edges[0].Compare(tr.Edges[1]) >= 0 {
				t.Errorf("%s: %+v, want the id %s", typ, tr, want)
			}
		}
	}
	want := "30461d17c78a0dc89f55c4f06d82c1d6" + specA + specB + hex.EncodeToString([]byte(TypeSTCPR))
	if got := hex.EncodeToString(NewTransport(b, a, TypeSTCPR, "user").SignedBytes()); got != want {
		t.Errorf("signed bytes %s, want %s", got, want)
	}
}

func TestTransportJSON(t *testing.T) {
	a, b := specKeys(t)
	e := SignedTransport{Transport: NewTransport(a, b, TypeSTCPR, LabelUser)}
	got, err := json.Marshal(e)
	zero := strings.Repeat("0", 130)
	want := `{"entry":{"t_id":"30461d17-c78a-0dc8-9f55-c4f06d82c1d6","edges":["` + specA + `","` + specB + `"],"type":"stcpr","label":"user"},"signatures":["` + zero + `","` + zero + `"]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back SignedTransport
	if err := json.Unmarshal(got, &back); err != nil || back != e {
		t.Errorf("back: %+v, %v", back, err)
	}
}

func TestCost(t *testing.T) {
	s := func(us, ppm int64, mbps float64) *TransportStats {
		return &TransportStats{RTTMicros: us, LossPPM: ppm, Mbps: mbps}
	}
	// Each is dearer than the one before.
	order := []struct {
		name, typ string
		s         *TransportStats
	}{
		{"near", TypeSTCPR, s(1000, 0, 0)},
		{"near, as is measured", TypeSTCPR, s(1000, 0, 500)},
		{"20 ms", TypeSUDPH, s(20_000, 0, 500)},
		{"20 ms, 1 % lost", TypeSUDPH, s(20_000, 10_000, 500)},
		{"unknown", TypeSTCPR, nil},
		{"50 ms, slow", TypeSTCPR, s(50_000, 0, 2)},
		{"relayed, unknown", TypeDmsg, nil},
		{"relayed, 100 ms", TypeDmsg, s(100_000, 0, 50)},
		{"20 ms, everything lost", TypeSTCPR, s(20_000, 1_000_000, 0)},
		{"of the moon", TypeSTCPR, s(2_600_000, 0, 0)},
		{"of a liar", TypeSTCPR, s(math.MaxInt64, math.MaxInt64, 1e-300)},
	}
	for i, tt := range order {
		got := Cost(tt.typ, tt.s)
		if !(got > 0) || math.IsInf(got, 0) {
			t.Errorf("%s costs %v", tt.name, got)
		}
		if i > 0 && got <= Cost(order[i-1].typ, order[i-1].s) {
			t.Errorf("%s costs %v, %s %v", tt.name, got, order[i-1].name, Cost(order[i-1].typ, order[i-1].s))
		}
	}
	if got := Cost(TypeSTCPR, s(-5, -5, -5)); got != Cost(TypeSTCPR, nil) {
		t.Errorf("of nonsense: %v", got)
	}
}
