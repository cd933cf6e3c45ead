package dmsgdisc

import "github.com/skyminer/skywire/controlplane/services/httpd"

// Report implements httpd.Reporter.
func (s *Service) Report(h *httpd.Health) { h.StoreLost = s.mirror.isLost() }
