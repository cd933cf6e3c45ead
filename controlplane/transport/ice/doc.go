// Package ice finds the address by which two visors reach each other over UDP, through
// the NATs on both sides: Interactive Connectivity Establishment (RFC 8445), run by
// pion/ice, over a socket that belongs to somebody else.
//
//   - A Hub is the STUN side of that socket: it gets the datagrams that are STUN, and gives
//     them to the agents and queries for which they are.
//   - A Reflector asks STUN servers (RFC 8489) what the socket looks like from outside.
//   - Gather returns the addresses where a peer may try, and Admit those of a peer's that
//     we are willing to try: they are hostile input.
//   - An Agent runs the checks with one peer; what comes of it is an address.
//
// Candidates are gathered here and not by pion: all agents share one socket, so that a
// pair of candidates is a remote address and nothing else. There is no trickle: an offer
// has all candidates. mDNS and TURN are off, TCP is not used.
//
// All methods may be called concurrently.
package ice
