package visor

import "github.com/skyminer/skywire/controlplane/api"

// errNoNetwork refuses what only a deployment makes possible.
func errNoNetwork() error {
	return api.ErrNoNetwork.With("this visor is in no deployment: \"skyctl config gen --force --deployment URL\" has it join one, after a restart")
}
