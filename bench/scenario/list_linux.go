package scenario

import (
	"slices"

	"github.com/skyminer/skywire/bench/run"
	"github.com/skyminer/skywire/bench/vs"
)

// All returns the scenarios in the order in which they are best read.
func All() []run.Scenario {
	return []run.Scenario{
		Limit(),
		Link(),
		Stream(),
		Forward(),
		Transit(),
		LongFat(),
		Mux(),
		Idle(),
		Relay(),
		RelayFar(),
		RelayChurn(),
		RelayStall(),
		RelayIdle(),
		Disc(),
		Setup(),
		Failover(),
		Boot(),
		Services(),
		Micro(),
	}
}

// Roles returns the helper processes of all scenarios.
func Roles() []run.Role {
	return slices.Concat(limitRoles(), linkRoles(), transitRoles(), streamRoles(), idleRoles(), relayRoles(), discRoles(), servicesRoles())
}

// Versus returns the comparison with other software, "skybench vs".
func Versus() run.Scenario {
	return vs.Scenario(newForwarding)
}
