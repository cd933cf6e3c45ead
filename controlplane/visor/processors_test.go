package visor

import (
	"runtime"
	"testing"
)

func TestUseProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	if n := UseProcessors(3); n != 3 || runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("asked for 3: %d, in force %d", n, runtime.GOMAXPROCS(0))
	}
	runtime.GOMAXPROCS(1) // a container with one
	if n := UseProcessors(0); n != 1 {
		t.Errorf("given one: takes %d", n)
	}
	runtime.GOMAXPROCS(runtime.NumCPU())
	want := max(runtime.NumCPU()/2, 1)
	for range 2 { // asking again changes nothing
		if n := UseProcessors(0); n != min(want, 16) {
			t.Errorf("of %d processors it takes %d", runtime.NumCPU(), n)
		}
	}
}
