// Package transportdisc is the transport discovery: visors register the transports
// that they have, each with its signature, and anybody can ask for those that exist.
//
// A transport is listed while both its edges' signatures are there and both edges
// have been heard of within the TTL. A visor that falls silent, or is started anew,
// takes its transports off the list without a word. One that uses the API of deployed
// visors, which register once and never again, is believed for a day.
//
// The store holds three kinds of records, so that a heartbeat, by far the most
// frequent write, writes little:
//
//	tpd/beat/<key>        who runs with the key, and what it measured; lives for the TTL
//	tpd/half/<key>/<n>    what the key has registered, up to 256 transports in each
//	tpd/old/<id>          a transport of deployed visors
//
// All of it is mirrored in memory, where questions are answered, and an [Index] tells
// others, such as the route finder, what changes.
package transportdisc
