package visor

import (
	"context"

	"github.com/skyminer/skywire/controlplane/api"
)

// Doctor implements api.Visor.
func (v *Visor) Doctor(context.Context) (api.Report, error) { return api.Report{}, errNoNetwork() }
