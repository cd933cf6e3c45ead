// Package e2e holds no code, only tests: whole visors, as processes in network
// namespaces of their own, against each other, against faults and against bad input.
// "make e2e" runs them; they need root.
//
// Everything that crosses a wire is random, and compared by SHA-256.
package e2e
