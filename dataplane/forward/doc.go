// Package forward is the label table of a visor: it says what becomes of each
// route packet that a link brings (docs/wire.md sections 4.1 and 4.3).
//
// A [Rule] either forwards, rewriting the label and sending the packet out on
// another link, or delivers to a [Sink], which is the end of a route. The [Engine]
// is the link floor's Handler. Its packet path takes no lock, allocates nothing and
// works on runs: consecutive packets under one label cost one look-up, one counter
// update and one send.
//
// Rules name neighbours, not links: the engine resolves each to the best link that
// is up, so that a rule outlives reconnections and a second link to the same
// neighbour takes over by itself. A packet is only accepted from the neighbour that
// its rule names; the link has proved that key.
//
// Who decides which rules there are is no business of this package: an operator's
// configuration today, route set-up later.
package forward
