// Package cipher holds identities: secp256k1 keys, their text forms, signatures
// and Diffie-Hellman.
//
// The address of a visor is its public key, so the types here are comparable
// arrays that serve as map keys and travel by value. An array that holds
// arbitrary bytes is a legal Go value but not a legal key: every operation that
// needs a real point or scalar checks it and fails with a sentinel. Nothing in
// this package panics on input from the network.
//
// The forms are those of the deployed dmsg protocol: 33-byte compressed points,
// 65-byte recoverable signatures over SHA-256, shared secrets that are the
// SHA-256 of the compressed shared point.
//
// All functions may be called concurrently; a [StaticKey] is immutable.
package cipher
