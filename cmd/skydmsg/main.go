// Skydmsg runs a dmsg relay. See package daemon.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"

	"github.com/skyminer/skywire/controlplane/dmsg/relay/daemon"
	"github.com/skyminer/skywire/internal/buildinfo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(daemon.NewCommand(os.Stdout, os.Stderr, buildinfo.Version(), isatty.IsTerminal(os.Stderr.Fd())).Main(ctx, os.Args[1:]))
}
