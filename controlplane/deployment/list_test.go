package deployment

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/skyminer/skywire/controlplane/graph"
)

// A service that answers with a list of nothings is refused before its callers run out
// of memory.
func TestListsOfNothing(t *testing.T) {
	const n = 500_000
	body := "[" + strings.Repeat("{},", n) + "{}]"
	url, c := serve(t, answer(http.StatusOK, "", "", body))
	tpd, sd, ut := NewTransportDiscovery(url, c), NewServiceDiscovery(url, c), NewUptimeTracker(url, c)
	pk, _ := keys(1)
	calls := map[string]func() error{
		"all":      func() error { _, _, err := tpd.All(t.Context(), ""); return err },
		"edge":     func() error { _, err := tpd.Edge(t.Context(), pk); return err },
		"services": func() error { _, err := sd.Services(t.Context(), Filter{Type: ServiceVPN}); return err },
		"paths": func() error {
			_, err := NewRouteFinder(url, c).Paths(t.Context(), graph.Query{From: pk, To: pk})
			return err
		},
		"uptimes": func() error { _, err := ut.Uptimes(t.Context(), UptimeQuery{}); return err },
	}
	for name, call := range calls {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := call()
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v, want ErrAnswer", name, err)
		}
		// Reading takes some four times the body, as a buffer that grows.
		if got := after.TotalAlloc - before.TotalAlloc; got > 20*uint64(len(body)) {
			t.Errorf("%s: %d bytes of memory for an answer of %d", name, got, len(body))
		}
	}
}

// Nor does a request of nothings fill a service's, and what makes sense is read as it is.
func TestRequestsOfNothing(t *testing.T) {
	nothings := "[" + strings.Repeat("{},", 20_000) + "{}]"
	for name, read := range map[string]func() error{
		"register": func() error {
			return json.Unmarshal([]byte(`{"instance":"x","entries":`+nothings+`}`), new(RegisterRequest))
		},
		"heartbeat": func() error {
			return json.Unmarshal([]byte(`{"instance":"x","stats":`+nothings+`}`), new(HeartbeatRequest))
		},
		"old": func() error { _, err := ParseTransports([]byte(nothings)); return err },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := read()
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 1<<20 {
			t.Errorf("%s: %v after %d bytes of memory", name, err, got)
		}
	}
	a, _ := keys(1)
	b, _ := keys(2)
	rq := RegisterRequest{Instance{"x", 7}, []SignedTransport{{Transport: NewTransport(a, b, TypeSTCPR, "")}, {Transport: NewTransport(a, b, TypeDmsg, "")}}}
	beat := HeartbeatRequest{Instance{"y", 8}, []TransportStats{{ID: rq.Entries[0].ID, RTTMicros: 5}, {ID: rq.Entries[1].ID}}}
	text, _ := json.Marshal(rq)
	var gotRq RegisterRequest
	if err := json.Unmarshal(text, &gotRq); err != nil || !reflect.DeepEqual(gotRq, rq) {
		t.Errorf("%+v, %v; want %+v", gotRq, err, rq)
	}
	text, _ = json.Marshal(beat)
	var gotBeat HeartbeatRequest
	if err := json.Unmarshal(text, &gotBeat); err != nil || !reflect.DeepEqual(gotBeat, beat) {
		t.Errorf("%+v, %v; want %+v", gotBeat, err, beat)
	}
}

// What a quantity is asked for and more comes is cut off.
func TestServicesQuantity(t *testing.T) {
	pk, _ := keys(1)
	one := `{"address":"` + pk.String() + `:5","type":"visor"}`
	url, c := serve(t, answer(http.StatusOK, "", "", "["+strings.Repeat(one+",", 4)+one+"]"))
	got, err := NewServiceDiscovery(url, c).Services(t.Context(), Filter{Type: ServiceVisor, Quantity: 2})
	if err != nil || len(got) != 2 {
		t.Fatalf("%d services, %v; want 2", len(got), err)
	}
}
