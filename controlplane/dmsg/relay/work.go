package relay

import "sync"

// workersPerSession is how many set-ups of one session are looked at together: with
// more, a session that dials a lot would push the others back in the queue for a
// processor.
const workersPerSession = 2

// A workshop looks at the requests and responses of one session, in order, outside
// of its reader: a signature takes 0.15 ms. It has goroutines only while there is
// something to do, and these share the processors set aside for cryptography
// (Server.processors) with those of other sessions, one object at a time.
type workshop struct {
	mu      sync.Mutex
	jobs    []*circuit // no more than there may be set-ups
	workers int
}

// add gives the workshop a circuit whose object is complete.
func (w *workshop) add(s *session, c *circuit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs = append(w.jobs, c)
	if w.workers < workersPerSession {
		w.workers++
		s.srv.group.Go(func() { w.run(s) })
	}
}

// run is a worker.
func (w *workshop) run(s *session) {
	for {
		w.mu.Lock()
		if len(w.jobs) == 0 {
			w.jobs = nil
			w.workers--
			w.mu.Unlock()
			return
		}
		c := w.jobs[0]
		w.jobs = w.jobs[1:]
		w.mu.Unlock()

		s.srv.processors <- struct{}{}
		switch c.stage.Load() {
		case checking:
			s.checkRequest(c)
		case confirming:
			s.checkResponse(c)
		}
		<-s.srv.processors
	}
}
