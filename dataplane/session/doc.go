// Package session carries payloads between two visors end to end, over as many
// routes as there are (docs/wire.md section 5).
//
// A [Manager] keeps one [Session] for each peer that it has a route to. Routes are
// of two kinds. A direct route exists by itself for each link to the peer: what
// travels there is sealed by the link alone. All others are sealed end to end under
// the session's keys, which a Noise KK handshake makes, and which are renewed all
// the time; a session that only has direct routes renews them as well, so that a
// route that replaces one can be used at once.
//
// Who runs what:
//
//   - Senders are anybody's goroutines. They load the route table and the keys, each
//     behind an atomic pointer, reserve packet numbers with one addition for each
//     call, and seal in place in a link.Tx.
//   - Packets arrive on the packet worker of their link. The replay windows of a
//     route belong to whoever delivers for it; a mutex that is nearly always free
//     passes them on when a neighbour's packets change the link.
//   - One goroutine multiplies elliptic curve points: handshakes.
//   - One goroutine ticks: liveness, probes, path MTU, rekeying, the choice of
//     routes.
//
// A session may spread what it sends over all its good routes (Manager.SetMux): a
// [spray] numbers packets and gives each to the route that should deliver it first, at the
// pace that a pacer finds for each route; the receiving half, an unspray, puts them back in
// order with a resequencer and reports what has arrived.
//
// The state machines (health, mtuSearch, reassembler, table of routes, pacer,
// muxQueue, resequencer) know no sockets and no clock; times are passed in.
package session
