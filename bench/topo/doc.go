// Package topo builds small networks out of Linux network namespaces, for
// benchmarks and for tests that need real sockets, and takes them down again.
//
//	chain of 3                 triangle
//
//	a ── b ── c                a ── b
//	                           │    │
//	                           d ── c
//
// An Internet is a router with sites around it, hosts with public addresses and hosts
// behind NATs of every kind; it needs nft(8).
//
// Namespaces are joined by veth pairs (Join) or by a user-space wire that adds
// delay and limits the rate (JoinDelayed): the kernels that we measure on have
// no netem. End.Rate shapes a veth with tbf, End.Drop loses packets at random.
//
// Everything needs root and Linux. A Net is used by one goroutine; Namespace.Do
// and the commands of a Namespace may be used by many at once.
//
// Namespaces carry the process id of their run in their name, show up in
// "ip netns", and vanish with Net.Close. Sweep removes those of runs that died
// without a Close; New calls it first.
package topo
