// Gen writes the command reference into a folder.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/ctl"
	"github.com/skyminer/skywire/controlplane/dmsg/relay/daemon"
	"github.com/skyminer/skywire/controlplane/services"
	"github.com/skyminer/skywire/controlplane/visor"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/internal/clidoc"
)

//go:generate go run . ../../../docs/cli

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "clidoc:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	programs := []*kingpin.Application{
		ctl.New(os.Stdout, os.Stderr, "", "").Application(),
		visor.NewCommand(os.Stdout, os.Stderr, "", false).Application(),
		daemon.NewCommand(os.Stdout, os.Stderr, "", false).Application(),
		services.NewCommand(os.Stdout, os.Stderr, "", false).Application(),
	}
	for _, app := range programs {
		for name, text := range clidoc.Pages(app.Model(), config.Dir()) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
