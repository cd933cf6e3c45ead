// Package stunserver answers STUN binding requests (RFC 8489) on two UDP ports, so
// that a visor learns under which address the world sees its socket, and whether its
// NAT maps and filters by port (RFC 5780).
//
// It has one address: CHANGE-REQUEST may ask for the other port, not for another
// address. Nothing is authenticated, for a binding reply says nothing that its
// receiver could not have learnt elsewhere. A reply is at most 2.2 times as large as
// the smallest request with its IP and UDP headers, and each source has a rate.
package stunserver
