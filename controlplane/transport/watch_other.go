//go:build !linux

package transport

import (
	"context"
	"errors"
)

// subscribe is done without: addresses are polled.
func subscribe(context.Context, chan struct{}) error { return errors.ErrUnsupported }

// defaultRoutes are not known here; addresses change with them as a rule.
func defaultRoutes() []string { return nil }
