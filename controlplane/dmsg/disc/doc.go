// Package disc holds the entries of a dmsg discovery: what clients and servers
// publish about themselves, how it is signed and verified, and the two directories
// that give it back: a discovery service over HTTP, and a fixed list.
//
// An entry is JSON, and its signature covers the bytes that its author sent
// without the signature member. Parse therefore keeps the bytes, and Verify goes
// by them: members that this package does not know stay covered.
//
// The formats are those of the deployed network; the few differences that its
// peers do not notice are named where they are.
package disc
