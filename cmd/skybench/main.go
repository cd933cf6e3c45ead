// Skybench measures Skywire on this machine; see skybench --help.
package main

import (
	"os"

	"github.com/skyminer/skywire/bench"
)

func main() { os.Exit(bench.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
