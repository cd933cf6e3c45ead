package foreign

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Discovery is the deployed discovery service, in memory.
type Discovery struct {
	mu      sync.Mutex
	entries map[string]Entry
	mux     *http.ServeMux
}

// NewDiscovery returns an empty one.
func NewDiscovery() *Discovery {
	d := &Discovery{entries: map[string]Entry{}, mux: http.NewServeMux()}
	d.mux.HandleFunc("GET /dmsg-discovery/entry/{pk}", d.get)
	d.mux.HandleFunc("POST /dmsg-discovery/entry/", d.post)
	d.mux.HandleFunc("DELETE /dmsg-discovery/entry", d.del)
	d.mux.HandleFunc("GET /dmsg-discovery/entries", d.clients)
	d.mux.HandleFunc("GET /dmsg-discovery/available_servers", func(w http.ResponseWriter, _ *http.Request) { d.servers(w, true) })
	d.mux.HandleFunc("GET /dmsg-discovery/all_servers", func(w http.ResponseWriter, _ *http.Request) { d.servers(w, false) })
	return d
}

func (d *Discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.mux.ServeHTTP(w, r) }

func reply(w http.ResponseWriter, code int, v any) {
	b, err := compact(v)
	if err != nil {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

func message(w http.ResponseWriter, code int, text string) { reply(w, code, ReplyError{text, code}) }

func (d *Discovery) get(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.entries[r.PathValue("pk")]
	if !ok {
		message(w, http.StatusNotFound, "entry of public key is not found")
		return
	}
	reply(w, http.StatusOK, e)
}

func (d *Discovery) post(w http.ResponseWriter, r *http.Request) {
	var e Entry
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		message(w, http.StatusInternalServerError, "something unexpected happened")
		return
	}
	if bad := d.validate(&e); bad != "" {
		message(w, http.StatusUnprocessableEntity, "entry validation error: "+bad)
		return
	}
	if e.Verify() != nil {
		message(w, http.StatusUnauthorized, "invalid signature")
		return
	}
	if e.Server != nil {
		e.Server.ServerType = "community"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.entries[e.Static]
	switch {
	case known && e.Sequence <= old.Sequence:
		message(w, http.StatusUnprocessableEntity, "entry validation error: "+wrongSequence)
		return
	case known && e.Timestamp < old.Timestamp:
		message(w, http.StatusUnprocessableEntity, "entry validation error: advertised entry timestamp is not greater than previous")
		return
	case !known && e.Sequence != 0:
		message(w, http.StatusUnprocessableEntity, "entry validation error: new entry has non-zero sequence")
		return
	}
	d.entries[e.Static] = e
	if known {
		message(w, http.StatusOK, "wrote new entry iteration")
		return
	}
	message(w, http.StatusOK, "wrote a new entry")
}

func (d *Discovery) validate(e *Entry) string {
	switch {
	case e.Version == "":
		return "entry has no version"
	case e.Signature == "":
		return "entry has no signature"
	case e.Static == "" || strings.Trim(e.Static, "0") == "":
		return "entry Keys is nil"
	case e.Client == nil && e.Server == nil:
		return "entry has neither client or server field"
	}
	if e.Server != nil {
		if _, _, err := net.SplitHostPort(e.Server.Address); err != nil {
			return "server address cannot be empty"
		}
	}
	age := time.Since(time.Unix(0, e.Timestamp))
	if e.Client == nil && (age > time.Minute || age < -5*time.Second) {
		return "advertised entry has outdated timestamp"
	}
	return ""
}

func (d *Discovery) del(w http.ResponseWriter, r *http.Request) {
	var e Entry
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.Verify() != nil {
		message(w, http.StatusUnauthorized, "invalid signature")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.entries, e.Static)
	message(w, http.StatusOK, "deleted entry")
}

func (d *Discovery) clients(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := []string{}
	for pk, e := range d.entries {
		if e.Client != nil {
			keys = append(keys, pk)
		}
	}
	slices.Sort(keys)
	reply(w, http.StatusOK, keys)
}

func (d *Discovery) servers(w http.ResponseWriter, free bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Entry
	for _, e := range d.entries {
		if e.Server != nil && (!free || e.Server.AvailableSessions > 0) {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		message(w, http.StatusNotFound, "no delegated dmsg servers available for remote")
		return
	}
	slices.SortFunc(all, func(a, b Entry) int { return b.Server.AvailableSessions - a.Server.AvailableSessions })
	reply(w, http.StatusOK, all)
}

// Register adds a relay's entry, signed by it.
func (d *Discovery) Register(r *Relay) error {
	e := Entry{Version: "0.0.1", Timestamp: time.Now().UnixNano(), Static: r.PK.String(),
		Server: &ServerPart{Address: r.Addr(), AvailableSessions: 2048, ServerType: "community"}}
	if err := e.Sign(r.SK); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries[e.Static] = e
	return nil
}
