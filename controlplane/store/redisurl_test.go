package store

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseRedis(t *testing.T) {
	base := redisConfig{mode: modeSingle, prefix: "skywire:"}
	with := func(f func(*redisConfig)) redisConfig {
		c := base
		f(&c)
		return c
	}
	for url, want := range map[string]redisConfig{
		"redis://h":                 with(func(c *redisConfig) { c.hosts = []string{"h:6379"} }),
		"redis://h/":                with(func(c *redisConfig) { c.hosts = []string{"h:6379"} }),
		"redis://h:1/3?prefix=x":    with(func(c *redisConfig) { c.hosts, c.db, c.prefix = []string{"h:1"}, 3, "x" }),
		"redis://h?prefix=":         with(func(c *redisConfig) { c.hosts, c.prefix = []string{"h:6379"}, "" }),
		"redis://[::1]":             with(func(c *redisConfig) { c.hosts = []string{"[::1]:6379"} }),
		"rediss://[::1]:7":          with(func(c *redisConfig) { c.hosts, c.tls = []string{"[::1]:7"}, true }),
		"redis://:p%40%2Fw@h":       with(func(c *redisConfig) { c.hosts, c.password = []string{"h:6379"}, "p@/w" }),
		"redis://u:a@b:c@h":         with(func(c *redisConfig) { c.hosts, c.user, c.password = []string{"h:6379"}, "u", "a@b:c" }),
		"redis+cluster://a,b:2,[c]": with(func(c *redisConfig) { c.mode, c.hosts = modeCluster, []string{"a:6379", "b:2", "c:6379"} }),
		"rediss+sentinel://u:p@a,b:2/m/4?sentinel_user=s&sentinel_password=t": with(func(c *redisConfig) {
			c.mode, c.tls, c.hosts, c.master, c.db = modeSentinel, true, []string{"a:26379", "b:2"}, "m", 4
			c.user, c.password, c.sentinelUser, c.sentinelPassword = "u", "p", "s", "t"
		}),
	} {
		scheme, rest, _ := strings.Cut(url, "://")
		got, err := parseRedis(scheme, rest)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", url, got, err, want)
		}
	}
}

func TestParseRedisErrors(t *testing.T) {
	for url, want := range map[string]string{
		"http://h":                          `unknown scheme "http"`,
		"redis+x://h":                       `unknown scheme "redis+x"`,
		"redis://":                          `"" is no host:port`,
		"redis://u:secret@":                 `"" is no host:port`,
		"redis://h:99999":                   `"h:99999" is no host:port`,
		"redis://h:0":                       "is no host:port",
		"redis://::1":                       "is no host:port",
		"redis://a,b":                       "2 hosts; write redis+sentinel or redis+cluster",
		"redis+cluster://a,,b":              `"" is no host:port`,
		"redis+cluster://a/1":               "database 0 only",
		"redis+sentinel://a":                "no name of the master",
		"redis://h/x":                       `"x" is no number`,
		"redis://h/-1":                      "is no number",
		"redis://u:secret%zz@h":             "write special characters as %XX",
		"redis://h?db=1":                    `unknown option "db"`,
		"redis://h?sentinel_password=s":     `unknown option "sentinel_password"`,
		"redis://h?prefix={x}":              "no braces",
		"redis://h?%zz":                     "cannot be read",
		"redis://u:secret@h:x/1?prefix=abc": `"h:x" is no host:port`,
	} {
		scheme, rest, _ := strings.Cut(url, "://")
		_, err := parseRedis(scheme, rest)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q and no password", url, err, want)
		}
	}
}

func FuzzParseRedis(f *testing.F) {
	f.Add("redis", "u:p@h:1/2?prefix=x")
	f.Add("rediss+sentinel", "a,[::1]:2/m/4?sentinel_user=s")
	f.Add("redis+cluster", "a,b,c")
	f.Fuzz(func(t *testing.T, scheme, rest string) {
		c, err := parseRedis(scheme, rest)
		if err == nil && (len(c.hosts) == 0 || c.mode == modeSentinel && c.master == "" || strings.Contains(c.prefix, "{")) {
			t.Errorf("accepted %q, %q as %+v", scheme, rest, c)
		}
	})
}

// crc16 is the checksum of Redis' cluster specification (XMODEM).
func crc16(s string) (c uint16) {
	for _, b := range []byte(s) {
		c ^= uint16(b) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
	}
	return c
}

// TestRedisTags: the shards lie evenly among the slots, and so on the nodes.
func TestRedisTags(t *testing.T) {
	if crc16("123456789") != 0x31c3 { // the check value of the specification
		t.Fatal("the checksum is wrong")
	}
	for i := range redisShards {
		if slot := crc16(redisTag(i)) % 16384; slot/1024 != uint16(i) || slot%1024 < 256 || slot%1024 >= 768 {
			t.Errorf("shard %d has slot %d", i, slot)
		}
	}
	var n [redisShards]int
	for i := range 16000 {
		n[shardOf(string(rune(i))+"/key")]++
	}
	for i, n := range n {
		if n < 800 || n > 1200 {
			t.Errorf("shard %d has %d of 16,000 keys", i, n)
		}
	}
}

func TestParseNotice(t *testing.T) {
	for m, want := range map[string]Change{
		"":                                         {},
		"\x00\x00\x00\x00\x00\x00\x00\x01":         {},
		"\x00\x00\x00\x00\x00\x00\x00\x01k":        {Kind: Written, Key: "k", Version: 1},
		"\x00\x00\x00\x00\x00\x00\x00\x00k":        {Kind: Deleted, Key: "k"},
		"12345678" + strings.Repeat("k", MaxKey+1): {},
	} {
		if got, ok := parseNotice(m); got != want || ok != (want.Kind != 0) {
			t.Errorf("%q: %+v, %v, want %+v", m, got, ok, want)
		}
	}
}
