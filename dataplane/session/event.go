package session

// A RouteEvent says what has become of a route.
type RouteEvent uint8

// Route events, as Config.OnRoute hears of them.
const (
	RouteUp      RouteEvent = iota + 1 // carries packets
	RouteSuspect                       // nothing came back for a while
	RouteDead                          // nothing came back for ten seconds
	RouteWaiting                       // has lost its link, or has no keys yet
	RouteExpired                       // no probe came for the TTL of its rule: it has been removed
	RouteClosed                        // the other end has closed it: it has been removed
	RouteRemoved                       // removed by RemoveRoute, or with its link
)

// String returns the word that people see.
func (e RouteEvent) String() string {
	switch e {
	case RouteUp:
		return "up"
	case RouteSuspect:
		return "suspect"
	case RouteDead:
		return "dead"
	case RouteWaiting:
		return "waiting"
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
