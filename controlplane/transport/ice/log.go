package ice

import (
	"github.com/pion/logging"
	"github.com/rs/zerolog"
)

// logs gives pion's agents a logger. Whatever pion thinks of it, a peer can cause each of
// its messages, and none says that an operator must act: all are for debugging.
type logs struct{ to zerolog.Logger }

// NewLogger implements pion's LoggerFactory.
func (l logs) NewLogger(scope string) logging.LeveledLogger {
	return log{l.to.With().Str("pion", scope).Logger()}
}

type log struct{ to zerolog.Logger }

func (l log) Trace(msg string)          { l.to.Trace().Msg(msg) }
func (l log) Tracef(f string, a ...any) { l.to.Trace().Msgf(f, a...) }
func (l log) Debug(msg string)          { l.to.Trace().Msg(msg) }
func (l log) Debugf(f string, a ...any) { l.to.Trace().Msgf(f, a...) }
func (l log) Info(msg string)           { l.to.Trace().Msg(msg) }
func (l log) Infof(f string, a ...any)  { l.to.Trace().Msgf(f, a...) }
func (l log) Warn(msg string)           { l.to.Debug().Msg(msg) }
func (l log) Warnf(f string, a ...any)  { l.to.Debug().Msgf(f, a...) }
func (l log) Error(msg string)          { l.to.Debug().Msg(msg) }
func (l log) Errorf(f string, a ...any) { l.to.Debug().Msgf(f, a...) }
