// Package foreign is a second, deliberately plain implementation of dmsg, written
// from the description of the deployed software of 2024 and from nothing of ours
// but keys: hashicorp/yamux as it comes, encoding/gob, net/http, encoding/json,
// flynn/noise. Only tests import it, to see that our client, relay and discovery
// get along with software that other people run.
//
// Where the deployed software has a weakness that a peer can notice, this has it
// too: a Client shakes hands with one incoming stream at a time and loses its
// session over a bad one, never refuses but closes, and waits 20 s for an answer; a
// Relay closes both directions of a stream when one ends, forgets a key that dials
// twice, and leaves the dialler of an unknown key waiting.
package foreign
