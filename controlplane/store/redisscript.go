package store

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/redis/rueidis"
)

// Layout in Redis, for one server as for a cluster. All keys live in 16 shards; a
// shard's hash tag puts everything that a script touches on one node:
//
//	skywire:{TAG}v:KEY  a record (see readRecord); Redis lets it expire
//	skywire:{TAG}k      sorted set of the KEYs, all with score 0: in their own order
//	skywire:{TAG}e      sorted set of the KEYs that expire, by time (Unix ms)
//	skywire:{TAG}n      the last version
//	skywire:changes     channel: version u64, big endian (0: deleted) ‖ KEY
//
// The sets keep a KEY a little longer than Redis keeps its record; readers go by the
// record, and the sweep makes up for it.
const redisShards = 16

// redisTag returns the hash tag of shard i: numbers chosen such that the slots of the
// 16 tags lie in the middle of 16 equal parts of all 16,384, so that a cluster of any
// size up to 16 that divides the slots evenly divides the shards evenly.
func redisTag(i int) string {
	return [redisShards]string{
		"18", "455", "333", "223", "553", "443", "95", "663",
		"265", "375", "908", "155", "985", "895", "405", "515",
	}[i]
}

// A redisShard has the names of one shard's keys.
type redisShard struct {
	values  string // prefix of the records
	keys    string
	expiry  string
	version string
}

// newRedisShards returns the names of all shards.
func newRedisShards(prefix string) (s [redisShards]redisShard) {
	for i := range s {
		p := prefix + "{" + redisTag(i) + "}"
		s[i] = redisShard{values: p + "v:", keys: p + "k", expiry: p + "e", version: p + "n"}
	}
	return s
}

// shardOf returns the shard of key. It must never change.
func shardOf(key string) int { return int(crc32.ChecksumIEEE([]byte(key)) % redisShards) }

// What the scripts return besides a version.
const (
	replyConflict = 0
	replyNotFound = -1
	replyDone     = 1
)

// arg returns c as the scripts compare it: nothing, or the first 8 bytes of the
// record (zeros where there is none).
func (c Cond) arg() string {
	if !c.check {
		return ""
	}
	return string(binary.BigEndian.AppendUint64(nil, c.version))
}

// The scripts. A version is the server's time in µs or one more than the last, so
// that it rises even when a server has lost its last writes. Numbers in Lua are
// exact up to 2^53: that is until the year 2255. %.0f writes them in full.
type redisScripts struct{ put, del, sweep *rueidis.Lua }

func newRedisScripts() redisScripts {
	return redisScripts{
		// KEYS: record, keys, expiry, version. ARGV: key, value, ttl in ms (0: for
		// ever), condition, channel.
		put: rueidis.NewLuaScript(`
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if old == '' then old = string.rep('\0', 8) end
if ARGV[4] ~= '' and ARGV[4] ~= old then return 0 end
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local version = math.max(us, (tonumber(redis.call('GET', KEYS[4])) or 0) + 1)
local expires = 0
if ARGV[3] ~= '0' then expires = math.floor(us / 1000) + tonumber(ARGV[3]) end
local head = struct.pack('>I8', version)
redis.call('SET', KEYS[4], string.format('%.0f', version))
redis.call('SET', KEYS[1], head .. struct.pack('>I8', expires) .. ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if expires == 0 then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  local at = string.format('%.0f', expires)
  redis.call('PEXPIREAT', KEYS[1], at)
  redis.call('ZADD', KEYS[3], at, ARGV[1])
end
redis.call('PUBLISH', ARGV[5], head .. ARGV[1])
return version`),
		// KEYS: record, keys, expiry. ARGV: key, condition, channel.
		del: rueidis.NewLuaScript(`
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if old == '' then return -1 end
if ARGV[2] ~= '' and ARGV[2] ~= old then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('PUBLISH', ARGV[3], string.rep('\0', 8) .. ARGV[1])
return 1`),
		// KEYS: keys, expiry. ARGV: at most how many. Redis lets a record expire when
		// the time is greater than its own, so that the bound excludes now.
		sweep: rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = string.format('(%.0f', math.floor((t[1] * 1000000 + t[2]) / 1000))
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
for _, key in ipairs(old) do
  redis.call('ZREM', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
end
return #old`),
	}
}
