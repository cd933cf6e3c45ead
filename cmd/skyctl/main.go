// Skyctl makes keys and configurations and commands a running visor. See package
// ctl.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/skyminer/skywire/controlplane/ctl"
	"github.com/skyminer/skywire/internal/buildinfo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	program := ctl.New(os.Stdout, os.Stderr, buildinfo.Version(), os.Getenv("SKYWIRE_SOCKET"))
	program.SetDiscovery(os.Getenv("SKYWIRE_DISCOVERY"))
	os.Exit(program.Main(ctx, os.Args[1:]))
}
