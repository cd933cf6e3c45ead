// Package transport keeps a visor's transports: it finds other visors by key, brings
// links to them up, registers what is up with the deployments, and does all that again
// after every outage.
//
//   - A Manager is told which links are wanted (Ensure, Add) and finds out how: STCPR to
//     the address that an address resolver knows, SUDPH by hole punching (package ice)
//     and, as long as there is nothing better, a link over dmsg.
//   - Both ends sign what they register (settlement), per deployment of which both are
//     members; what is known in one deployment is never told in another.
//   - Automatic transports give every visor enough neighbours for routes of several hops.
//
// A transport is the registered, signed thing between two visors, one per pair and type;
// its link is the live pipe of package link. Links are the data plane's: it connects again
// by itself where the address has not changed. The Manager does the rest.
//
// Addresses are a secret between visors: a candidate goes only to keys that Config.Accept
// admits.
package transport
