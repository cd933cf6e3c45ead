// Skybench measures Skywire on this machine; see skybench --help.
package main

import (
	"os"

	"github.com/skyminer/skywire/bench"
	"github.com/skyminer/skywire/internal/buildinfo"
)

func main() { os.Exit(bench.Main(os.Args[1:], buildinfo.Version(), os.Stdin, os.Stdout, os.Stderr)) }
