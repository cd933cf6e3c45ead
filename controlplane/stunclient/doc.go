// Package stunclient learns from STUN servers under which addresses the world sees a
// socket, and what its NAT does (RFC 8489, RFC 5780, RFC 4787).
//
// The socket may be its own or one that carries other traffic: whoever reads it hands
// what arrives to [Client.Handle], which takes the answers out.
package stunclient
