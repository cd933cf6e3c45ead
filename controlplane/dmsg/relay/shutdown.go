package relay

import "time"

const (
	drainPoll = 50 * time.Millisecond
	// drainIdle is how long a client without streams has to move before its
	// session is closed: the deployed software does not move by itself.
	drainIdle = 3 * time.Second
)

// drain empties the relay: clients are told to go away and have DrainTimeout to
// move; those without streams are sent away earlier. Where it does not have to be
// gentle, it closes everything at once.
func (srv *Server) drain(gently bool) {
	srv.mu.Lock() // so that join sees it
	srv.draining.Store(true)
	srv.mu.Unlock()
	begin := time.Now()
	if gently && srv.cfg.DrainTimeout > 0 {
		sessions := srv.all()
		srv.log.Info().Int("sessions", len(sessions)).Dur("timeout", srv.cfg.DrainTimeout).Msg("draining")
		for _, s := range sessions {
			s.goAway()
		}
		for len(sessions) > 0 && time.Since(begin) < srv.cfg.DrainTimeout {
			time.Sleep(drainPoll)
			sessions = srv.all()
			for _, s := range sessions {
				if time.Since(begin) > drainIdle && s.streams() == 0 {
					s.close(EndedByShutdown)
				}
			}
		}
	}
	for _, s := range srv.all() {
		s.close(EndedByShutdown)
	}
}
