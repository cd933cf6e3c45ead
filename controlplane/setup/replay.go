package setup

import (
	"sync"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// maxSeen bounds the nonces that are remembered: 49 bytes and a map's overhead each.
const maxSeen = 1 << 17

// A replayGuard remembers the statements that have been taken, for as long as they are
// fresh. Two generations take turns: what is in neither is new. A flood that fills one
// within its time makes it refuse until the time is over, rather than forget.
type replayGuard struct {
	mu        sync.Mutex
	old, new  map[seenKey]struct{}
	turned    time.Time
	limit     int
	perSource map[cipher.PubKey]int // in new
}

type seenKey struct {
	source cipher.PubKey
	nonce  nonce
}

func newReplayGuard() *replayGuard { return &replayGuard{limit: maxSeen} }

// generation is how long one lasts: a statement from a clock a minute ahead stays fresh
// for two.
const generation = 2 * clockWindow

// Verdicts of take.
type verdict uint8

const (
	verdictNew verdict = iota
	verdictReplayed
	verdictFull // cannot be remembered: this source has made too many, or all have
)

// take says whether s is new, and remembers it.
func (g *replayGuard) take(s *statement, now time.Time) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch age := now.Sub(g.turned); {
	case age >= 2*generation:
		g.old, g.new = nil, map[seenKey]struct{}{}
	case age >= generation:
		g.old, g.new = g.new, map[seenKey]struct{}{}
	}
	if len(g.new) == 0 {
		g.turned, g.perSource = now, map[cipher.PubKey]int{}
	}
	k := seenKey{s.Source, s.Nonce}
	if _, ok := g.new[k]; ok {
		return verdictReplayed
	}
	if _, ok := g.old[k]; ok {
		return verdictReplayed
	}
	if len(g.new) >= g.limit || g.perSource[s.Source] >= g.limit/8 {
		return verdictFull
	}
	g.new[k] = struct{}{}
	g.perSource[s.Source]++
	return verdictNew
}

// check is take, as a refusal.
func (g *replayGuard) check(s *statement, now time.Time) *Error {
	switch g.take(s, now) {
	case verdictReplayed:
		return refuse(CodeReplay, "this statement was made before")
	case verdictFull:
		return refuse(CodeQuota, "too many statements in a short time; try again in a few minutes")
	}
	return nil
}
