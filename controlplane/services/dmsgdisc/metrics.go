package dmsgdisc

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// A route is what a request was for, in the metrics.
type route int

const (
	routeEntry route = iota
	routeBatch
	routeServers
	routeClients
	routePublish
	routeRemove
	routeDeregister
	routeOther
	routes
)

// routeNames are the labels of the routes.
func routeNames() [routes]string {
	return [routes]string{"entry", "batch", "servers", "clients", "publish", "remove", "deregister", "other"}
}

// statuses are what is counted of answers; the last is every other one.
func statuses() [10]int {
	return [10]int{http.StatusOK, http.StatusNotModified, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable, 0}
}

// metrics count what the service does. The zero value is ready.
type metrics struct {
	answers     [routes][10]atomic.Uint64 // by the index of statuses
	storeErrors atomic.Uint64
}

func (m *metrics) count(r route, status int) {
	all := statuses()
	for i, s := range all {
		if s == status || s == 0 {
			m.answers[r][i].Add(1)
			return
		}
	}
}

// WriteMetrics implements httpd.MetricsWriter.
func (s *Service) WriteMetrics(b io.Writer) {
	family := func(name, kind, help string) { fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	family("dmsgdisc_requests_total", "counter", "Requests answered, by what they were for and HTTP status.")
	names := routeNames()
	for r := range routes {
		for i, status := range statuses() {
			n := s.metrics.answers[r][i].Load()
			if n == 0 {
				continue
			}
			code := "other"
			if status != 0 {
				code = fmt.Sprint(status)
			}
			fmt.Fprintf(b, "dmsgdisc_requests_total{route=%q,code=%q} %d\n", names[r], code, n)
		}
	}
	family("dmsgdisc_store_errors_total", "counter", "Requests that failed because of the store.")
	fmt.Fprintf(b, "dmsgdisc_store_errors_total %d\n", s.metrics.storeErrors.Load())
	n, _ := digested(s, &s.lists.census, ofServers|ofClients, func(*item) bool { return true }, newCensus)
	family("dmsgdisc_entries", "gauge", "Entries that are given out.")
	for _, g := range []struct {
		kind string
		n    int
	}{{"client", n.clients}, {"visor", n.visors}, {"server", n.servers}} {
		fmt.Fprintf(b, "dmsgdisc_entries{kind=%q} %d\n", g.kind, g.n)
	}
	family("dmsgdisc_available_sessions", "gauge", "Sessions that the servers still take.")
	fmt.Fprintf(b, "dmsgdisc_available_sessions %d\n", n.room)
	lost := 0
	if !s.mirror.isLost().IsZero() {
		lost = 1
	}
	family("dmsgdisc_store_lost", "gauge", "1 while the store is not available.")
	fmt.Fprintf(b, "dmsgdisc_store_lost %d\n", lost)
}

// A census counts entries.
type census struct {
	clients, visors, servers int
	room                     int // sessions that the servers still take
}

func (census) size() int { return 0 }

func newCensus(items []*item) (n census) {
	for _, it := range items {
		if it.client {
			n.clients++
		}
		if it.visor {
			n.visors++
		}
		if it.server {
			n.servers++
			n.room += max(0, it.available)
		}
	}
	return n
}
