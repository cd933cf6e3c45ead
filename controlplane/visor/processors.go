package visor

import (
	"runtime"

	"github.com/skyminer/skywire/controlplane/visor/config"
)

// UseProcessors sets how many processors this process runs Go code on, and returns
// their number: as many as there are packet workers, and with 0 for workers half of
// the machine's, at least one and no more than it has been given (GOMAXPROCS, a
// container's share). For the main program alone.
//
// Half, because a packet that changes goroutines changes processors wherever one
// idles, and waking it costs more than the work that is handed over: on two cores
// one stream takes a quarter less CPU per byte, and a ping two thirds of the time,
// when the process keeps to one (docs/decisions.md). The other half is the
// kernel's, which moves every packet too, and other programs'.
func UseProcessors(workers int) int {
	n := workers
	if n == 0 {
		n = min(max(runtime.NumCPU()/2, 1), config.MaxWorkers, runtime.GOMAXPROCS(0))
	}
	runtime.GOMAXPROCS(n)
	return n
}
