package api

import (
	"context"
	"net/http"

	"github.com/rs/zerolog"
)

// Control is what concerns the visor as a process.
type Control interface {
	// Reload reads the configuration file again.
	Reload(ctx context.Context) (Reloaded, error)
	// Halt stops the visor, as SIGTERM does. It returns before that is done.
	Halt(ctx context.Context) error
	// SetLogLevel sets what is logged, until the visor restarts or reloads.
	SetLogLevel(ctx context.Context, level string) error
}

// Reloaded says what came of reading the configuration file again. Values are named
// as in the file: transport.persistent, log_level.
type Reloaded struct {
	Applied []string `json:"applied"` // changed, and in force now
	Restart []string `json:"restart"` // changed, and in force when the visor has been restarted
	Failed  []string `json:"failed"`  // changed, and why that does not work
}

// LogLevel names what is logged.
type LogLevel struct {
	Level string `json:"level"` // debug, info, warn or error
}

// Validate returns what is wrong with l.
func (l LogLevel) Validate() error {
	var ps Problems
	if !IsLogLevel(l.Level) {
		ps.Add("level", "is %q; want debug, info, warn or error", l.Level)
	}
	return ps.Err()
}

// IsLogLevel says whether text is a level of the log.
func IsLogLevel(text string) bool {
	_, err := zerolog.ParseLevel(text)
	return err == nil && text != ""
}

// controlEndpoints are the calls of Control.
func controlEndpoints(v Control) table {
	return table{
		"/v1/reload": {
			http.MethodPost: asks(func(ctx context.Context) (any, error) { return v.Reload(ctx) }),
		},
		"/v1/halt": {
			http.MethodPost: asks(func(ctx context.Context) (any, error) { return none{}, v.Halt(ctx) }),
		},
		"/v1/log-level": {
			http.MethodPost: with(func(ctx context.Context, l LogLevel) (any, error) { return none{}, v.SetLogLevel(ctx, l.Level) }),
		},
	}
}

// Reload implements Commands.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return post[Reloaded](ctx, c, "/v1/reload", nil)
}

// Halt implements Commands.
func (c *Client) Halt(ctx context.Context) error {
	_, err := post[none](ctx, c, "/v1/halt", nil)
	return err
}

// SetLogLevel implements Commands.
func (c *Client) SetLogLevel(ctx context.Context, level string) error {
	_, err := post[none](ctx, c, "/v1/log-level", LogLevel{level})
	return err
}
