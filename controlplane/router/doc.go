// Package router decides which way packets take to a peer: directly, or over routes
// that it has made along paths of its choice (docs/routing.md).
//
// A Policy says what an application accepts. Ensure finds the class of sessions that
// keeps to it, makes what is missing, and from then on the router keeps the class
// supplied: it replaces routes that fail, keeps one disjoint route warm beyond those in
// use, and drops the class some minutes after its last use. Which of a session's routes
// a packet takes is not decided here but in dataplane/session, at once and without
// asking.
//
// Paths come from a PathFinder: the route finder service of a deployment, or Local,
// which searches the list of transports itself and tells nobody what for. What either
// says is checked against experience: links that turn out not to be there, and visors
// that do not answer, are remembered for some minutes and avoided.
package router
