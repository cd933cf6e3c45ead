package store

import "context"

type redisConfig struct{}

func parseRedis(string, string) (redisConfig, error) { return redisConfig{}, ErrInvalid }

func openRedis(context.Context, redisConfig, Options) (Store, error) { return nil, ErrUnavailable }
