package store

import "context"

// OpenBolt is on its way.
func OpenBolt(context.Context, string, Options) (Store, error) { return nil, ErrUnavailable }

type redisConfig struct{}

func parseRedis(string, string) (redisConfig, error) { return redisConfig{}, ErrInvalid }

func openRedis(context.Context, redisConfig, Options) (Store, error) { return nil, ErrUnavailable }
