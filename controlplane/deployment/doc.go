// Package deployment holds what visors and services say to each other: the wire
// types of a deployment's services, how requests are signed, and the clients of all
// services. Services and visors both import it; it imports neither.
//
// Requests are HTTP and JSON over http, https or dmsg URLs. Which of them works is
// the business of the http.RoundTripper that the [Caller] gets; see [RoundTripper].
package deployment
