// Package scenario holds the benchmarks, one per file. A new one is a function
// that returns its run.Scenario, named in All; its helper processes are named in
// Roles.
package scenario

import "github.com/skyminer/skywire/bench/run"

// Find returns the scenario with that name.
func Find(name string) (run.Scenario, bool) {
	for _, s := range All() {
		if s.Name == name {
			return s, true
		}
	}
	return run.Scenario{}, false
}
