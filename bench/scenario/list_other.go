//go:build !linux

package scenario

import "github.com/skyminer/skywire/bench/run"

// All returns nothing: every scenario needs Linux network namespaces.
func All() []run.Scenario { return nil }

// Roles returns nothing, as All does.
func Roles() []run.Role { return nil }

// Versus returns a scenario that cannot run, as All does.
func Versus() run.Scenario { return run.Scenario{} }
