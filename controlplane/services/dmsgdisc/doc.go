// Package dmsgdisc is the dmsg discovery: it keeps what the clients and servers of
// a dmsg network publish about themselves and gives it back over HTTP. Paths,
// bodies and the texts of refusals are those of the deployed discovery, on which
// its clients rely.
//
// Entries live in a store. Everything that is asked for is answered from a mirror
// of it in memory, ready to be sent, that change notices keep right; so look-ups go
// on for a while when the store is gone. Writes go to the store first: what was
// acknowledged is durable.
//
// Where the deployed discovery is weak this one differs, in ways that honest peers
// of any version do not notice:
//   - A signature covers the bytes that were received, with members this package
//     does not know.
//   - An entry can be deleted only by its author: with a newer entry, over dmsg, or,
//     as deployed clients do it with the entry that everybody can look up, from the
//     address that published it. After that no older entry is taken.
//   - Every entry with a server part must be fresh, not only those without a client
//     part. An empty pass-phrase matches nothing, and a pass-phrase is never stored
//     or given out.
//   - Sources are limited, and clients that are gone disappear.
package dmsgdisc
