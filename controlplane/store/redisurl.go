package store

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// A redisConfig is what the URL of a Redis store says.
type redisConfig struct {
	mode     redisMode
	tls      bool
	hosts    []string // host:port
	user     string
	password string
	db       int    // number of the database; 0 in a cluster
	prefix   string // before every key

	master           string // sentinel: name of the set
	sentinelUser     string
	sentinelPassword string
}

// A redisMode is how the servers stand to each other.
type redisMode string

const (
	modeSingle   redisMode = "single"
	modeSentinel redisMode = "sentinel"
	modeCluster  redisMode = "cluster"
)

// defaultRedisPrefix keeps our keys apart from those of others in the same Redis.
const defaultRedisPrefix = "skywire:"

// parseRedis reads a URL that was cut at "://". Its errors never show the password.
// The hosts are cut by hand, as net/url knows no lists of them.
func parseRedis(scheme, rest string) (redisConfig, error) {
	bad := func(format string, args ...any) (redisConfig, error) {
		return redisConfig{}, fmt.Errorf("%w: address of the store: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	c := redisConfig{mode: modeSingle, prefix: defaultRedisPrefix}
	proto, mode, _ := strings.Cut(scheme, "+")
	switch {
	case proto == "rediss":
		c.tls = true
	case proto != "redis":
		return bad("unknown scheme %q; known are bolt, redis, redis+sentinel, redis+cluster, and with TLS rediss, rediss+sentinel, rediss+cluster", scheme)
	}
	port := "6379"
	switch mode {
	case "":
	case "sentinel":
		c.mode, port = modeSentinel, "26379"
	case "cluster":
		c.mode = modeCluster
	default:
		return bad("unknown scheme %q; known are %s, %s+sentinel, %s+cluster", scheme, proto, proto, proto)
	}

	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		hosts = authority[i+1:]
		user, password, _ := strings.Cut(authority[:i], ":")
		var err1, err2 error
		c.user, err1 = url.PathUnescape(user)
		c.password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return bad("user and password: write special characters as %%XX")
		}
	}
	for _, h := range strings.Split(hosts, ",") {
		hp, ok := hostPort(h, port)
		if !ok {
			return bad("%q is no host:port", h)
		}
		c.hosts = append(c.hosts, hp)
	}
	if c.mode == modeSingle && len(c.hosts) != 1 {
		return bad("%d hosts; write %s+sentinel or %s+cluster if they belong together", len(c.hosts), proto, proto)
	}

	path, rawQuery, _ := strings.Cut(strings.TrimPrefix(tail, "/"), "?")
	if strings.HasPrefix(tail, "?") {
		path, rawQuery = "", tail[1:]
	}
	db := path
	if c.mode == modeSentinel {
		c.master, db, _ = strings.Cut(path, "/")
		if c.master == "" {
			return bad("no name of the master; write %s://host:26379/NAME", scheme)
		}
	}
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return bad("%q is no number of a database", db)
		}
		c.db = int(n)
	}
	if c.mode == modeCluster && c.db != 0 {
		return bad("a cluster has database 0 only")
	}

	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return bad("the part after the question mark cannot be read")
	}
	for k, v := range query {
		switch {
		case k == "prefix":
			c.prefix = v[0]
		case k == "sentinel_user" && c.mode == modeSentinel:
			c.sentinelUser = v[0]
		case k == "sentinel_password" && c.mode == modeSentinel:
			c.sentinelPassword = v[0]
		default:
			return bad("unknown option %q", k)
		}
	}
	// A brace would move the place of the hash tag; see redisShards.
	if len(c.prefix) > 64 || strings.ContainsAny(c.prefix, "{}") {
		return bad("the prefix must have up to 64 bytes and no braces")
	}
	return c, nil
}

// hostPort adds the port where h has none. An IPv6 address stands in brackets.
func hostPort(h, port string) (string, bool) {
	if host, p, err := net.SplitHostPort(h); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		return h, host != "" && err == nil && n > 0
	}
	if strings.HasPrefix(h, "[") && strings.HasSuffix(h, "]") {
		h = h[1 : len(h)-1]
	} else if strings.Contains(h, ":") {
		return "", false
	}
	return net.JoinHostPort(h, port), h != ""
}
