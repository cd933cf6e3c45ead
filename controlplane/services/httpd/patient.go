package httpd

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// After an error that passes a patient listener waits for patientFirst, doubled with
// each one more up to patientMost.
const (
	patientFirst = 5 * time.Millisecond
	patientMost  = time.Second
)

// A patient listener goes on accepting after errors that pass: when a process has all
// the files that it may open it must turn newcomers away, not end.
type patient struct {
	net.Listener
	ctx context.Context
	log zerolog.Logger
}

// Accept implements net.Listener.
func (l patient) Accept() (net.Conn, error) {
	for pause := patientFirst; ; pause = min(2*pause, patientMost) {
		c, err := l.Listener.Accept()
		if err == nil || !passes(err) {
			return c, err
		}
		if pause == patientFirst {
			l.log.Error().Err(err).Msg("cannot accept connections at the moment")
		}
		select {
		case <-l.ctx.Done():
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
	}
}

// passes says whether an error of accept(2) is of one connection or of a shortage.
func passes(err error) bool {
	for _, e := range [...]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
