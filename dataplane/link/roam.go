package link

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"github.com/skyminer/skywire/dataplane/packet"
)

// A pathCheck limits what is sent to an address from which the peer has been heard
// but where it has not yet proved to receive (RFC 9000 sections 8.2 and 9.3).
type pathCheck struct {
	token  uint64
	prev   netip.AddrPort // where the peer was before
	began  int64
	asked  atomic.Int64
	budget atomic.Int64 // bytes that may still be sent
}

const (
	pathAmplification = 3
	pathAskEvery      = second / 2
	pathGiveUp        = 3 * second // then the peer is sought where it was before
)

// allow takes n bytes from the budget if they are there.
func (p *pathCheck) allow(n int) bool {
	if p.budget.Add(int64(-n)) >= 0 {
		return true
	}
	p.budget.Add(int64(n))
	return false
}

// received notes authentic packets from an address, opened under k; fresh is their
// highest counter plus one and bytes what arrived. It runs on the link's worker.
func (l *Link) received(k *rxKey, from netip.AddrPort, fresh uint64, bytes int, now int64) {
	l.lastRecv.Store(now)
	k.sawCounter(fresh)
	top, _ := k.win.Greatest() // fresh-1 has been accepted: it is the greatest, or older
	newest := fresh-1 == top
	st := l.send.Load()
	if st == nil {
		return
	}
	if from == st.addr {
		if st.path != nil {
			st.path.budget.Add(int64(pathAmplification * bytes))
		}
		return
	}
	if newest && k.epoch == st.epoch {
		l.moveTo(from, bytes, now)
	}
}

// moveTo changes the peer's address, on probation.
func (l *Link) moveTo(to netip.AddrPort, bytes int, now int64) {
	var token [8]byte
	_, _ = rand.Read(token[:]) // never fails, crypto/rand
	p := &pathCheck{token: binary.BigEndian.Uint64(token[:]), began: now}
	p.budget.Store(int64(pathAmplification * bytes))

	l.mu.Lock()
	st := l.send.Load()
	if st == nil || st.addr == to {
		l.mu.Unlock()
		return
	}
	p.prev = st.addr
	if st.path != nil { // moved again before it answered: the last proved address counts
		p.prev = st.path.prev
	}
	next := *st
	next.addr, next.path = to, p
	if to == p.prev {
		next.path = nil // back where it was proved to be
	}
	l.send.Store(&next)
	l.state.addr = to
	l.startMTU()
	l.mu.Unlock()
	if next.path != nil {
		l.askPath(p, now)
	}
}

// askPath sends the challenge.
func (l *Link) askPath(p *pathCheck, now int64) {
	p.asked.Store(now)
	l.sendControl(packet.KindPathChallenge, binary.BigEndian.AppendUint64(nil, p.token))
}

// pathEchoed ends the probation, if the echo came from the address in question.
func (l *Link) pathEchoed(token uint64, from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.send.Load()
	if st == nil || st.path == nil || st.path.token != token || from != st.addr {
		return
	}
	next := *st
	next.path = nil
	l.send.Store(&next)
	l.startMTU() // another path, another MTU
}

// checkPath repeats the challenge, or gives the new address up. Called by the timer.
func (l *Link) checkPath(now int64) {
	st := l.send.Load()
	if st == nil || st.path == nil {
		return
	}
	p := st.path
	if now-p.began < pathGiveUp {
		if now-p.asked.Load() >= pathAskEvery {
			l.askPath(p, now)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.send.Load() != st {
		return
	}
	next := *st
	next.addr, next.path = p.prev, nil
	l.send.Store(&next)
	l.state.addr = p.prev
	l.startMTU()
}
