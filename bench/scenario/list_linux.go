package scenario

import "github.com/skyminer/skywire/bench/run"

// All returns the scenarios in the order in which they are best read.
func All() []run.Scenario {
	return []run.Scenario{
		Limit(),
	}
}

// Roles returns the helper processes of all scenarios.
func Roles() []run.Role {
	return limitRoles()
}
