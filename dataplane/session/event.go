package session

// A RouteEvent says what has become of a route.
type RouteEvent uint8

// Route events, as Config.OnRoute hears of them. A route begins as RouteWaiting, which
// is not told.
const (
	RouteWaiting RouteEvent = iota // has no link (any more), or no keys
	RouteUp                        // carries packets
	RouteSuspect                   // nothing came back for a while
	RouteDead                      // nothing came back for ten seconds
	RouteExpired                   // neither probe nor reply came for its TTL: it has been removed
	RouteClosed                    // the other end has closed it: it has been removed
	RouteRemoved                   // removed by RemoveRoute, or with its link
)

// String returns the word that people see.
func (e RouteEvent) String() string {
	switch e {
	case RouteWaiting, RouteUp, RouteSuspect, RouteDead:
		return State(e).String()
	case RouteExpired:
		return "expired"
	case RouteClosed:
		return "closed"
	case RouteRemoved:
		return "removed"
	}
	return "unknown"
}

// Gone reports whether the route has been removed.
func (e RouteEvent) Gone() bool { return e >= RouteExpired }

// A notice is an event on its way to Config.OnRoute.
type notice struct {
	route RouteInfo
	event RouteEvent
}

// tell tells what happened. Only the ticker calls it, without a lock.
func (m *Manager) tell(notices []notice) {
	for _, n := range notices {
		m.cfg.OnRoute(n.route, n.event)
	}
}

// gone notes the end of r for the ticker to tell. mu is held.
func (m *Manager) gone(r *route, why RouteEvent) {
	if m.cfg.OnRoute != nil {
		m.notices = append(m.notices, notice{r.info(), why})
		m.wake()
	}
}

// changed returns r's state as an event if it is news. Session.mu is held.
func (r *route) changed() (e RouteEvent, news bool) {
	if e = RouteEvent(r.state()); e == r.told {
		return e, false
	}
	r.told = e
	return e, true
}
