// Package graph holds a network as a graph, visors joined by transports, and finds
// paths through it: cheap ones that have no visor in common, so that what takes one
// down leaves the others. The route finder and visors that choose their paths
// themselves both use it.
//
// Without bounds on hops the paths are exact: as many disjoint ones as there are, of
// the smallest total cost (Suurballe's method, Networks 4:125, 1974, for k paths).
// To find disjoint paths under bounds on hops is NP-hard; there the paths are taken
// one by one, each the cheapest of what the others leave.
package graph
