package config

import (
	"os"
	"path/filepath"

	"github.com/skyminer/skywire/controlplane/conf"
)

// FileName and KeyFileName are the names of the configuration file and of the
// secret key beside it.
const (
	FileName    = "skywire.json"
	KeyFileName = "secret.key"
)

// Dir returns where a visor's files are unless somebody says otherwise:
// /etc/skywire for root, else skywire in the user's folder for configurations
// (~/.config on Linux).
func Dir() string {
	if os.Geteuid() == 0 {
		return "/etc/skywire"
	}
	base, err := os.UserConfigDir()
	if err != nil {
		return "." // no home: the working directory
	}
	return filepath.Join(base, "skywire")
}

// File returns the configuration file in Dir.
func File() string { return filepath.Join(Dir(), FileName) }

// Socket returns the API socket of a visor that runs with File and says nothing
// about its socket.
func Socket() string { return conf.Resolve(File(), Default().APISocket) }
