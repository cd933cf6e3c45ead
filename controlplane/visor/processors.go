package visor

import (
	"os"
	"runtime"

	"github.com/skyminer/skywire/controlplane/visor/config"
)

// UseProcessors sets how many processors this process runs Go code on, and returns
// their number: as many as there are packet workers, and with 0 for workers half of
// the machine's, at least one. What the environment says in GOMAXPROCS goes first.
// For the main program alone.
//
// Half, because a packet that changes goroutines changes processors wherever one
// idles, and waking it costs more than the work that is handed over: on two cores
// one stream takes a third less CPU per byte, and a ping two thirds of the time,
// when the process keeps to one (docs/decisions.md). The other half is the
// kernel's, which moves every packet too, and other programs'.
func UseProcessors(workers int) int {
	if os.Getenv("GOMAXPROCS") == "" {
		if workers == 0 {
			workers = min(max(runtime.NumCPU()/2, 1), config.MaxWorkers)
		}
		runtime.GOMAXPROCS(workers)
	}
	return runtime.GOMAXPROCS(0)
}
