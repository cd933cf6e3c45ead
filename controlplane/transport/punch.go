package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skyminer/skywire/controlplane/transport/ice"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

const (
	// exchangeTimeout bounds the signalling, punchTimeout the checks after it.
	exchangeTimeout = 4 * time.Second
	punchTimeout    = 5 * time.Second
	// linkTimeout is how long a link has to come up through a hole.
	linkTimeout = 4 * time.Second
	// maxAnswers bounds the offers that strangers bring at a time, whom all may be; those
	// of visors that we have to do with have maxFamiliar places of their own, and no visor
	// more than maxOffers. What an Agent takes (ice) leaves room for our own offers.
	maxAnswers  = 32
	maxFamiliar = 16
	maxOffers   = 4
	// offerChecks is how often, at most, all links are checked because of offers, which
	// anybody can make.
	offerChecks = time.Second
	// mappedTimeout is how long STUN servers may keep an offer waiting.
	mappedTimeout = 500 * time.Millisecond
)

// errGlare ends an offer of ours: the other side's counts.
var errGlare = errors.New("transport: the other visor's offer counts")

// A punch is an attempt to reach one peer by UDP. There is one per peer: where offers
// cross, that of the smaller key counts.
type punch struct {
	pk     cipher.PubKey
	ours   bool // we have made the offer
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// An answer is a punch that the other side has begun.
type answer struct {
	*punch
	agent *ice.Agent
	ours  []ice.Candidate
}

// enter makes p the punch with its peer unless there is one, which it returns then. One
// that gives way to p is ended first.
func (m *Manager) enter(p *punch) (other *punch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other = m.punches[p.pk]; other != nil {
		if p.ours || other.ours && m.pk.Compare(p.pk) < 0 {
			return other
		}
		other.cancel(errGlare)
	}
	m.punches[p.pk] = p
	m.shout()
	return nil
}

// leave is the end of p.
func (m *Manager) leave(p *punch) {
	p.cancel(nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.punches[p.pk] == p {
		delete(m.punches, p.pk)
	}
	m.shout()
}

func newPunch(ctx context.Context, pk cipher.PubKey, ours bool) *punch {
	p := &punch{pk: pk, ours: ours}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// prepare makes an agent and gathers our candidates.
func (m *Manager) prepare(ctx context.Context) (*ice.Agent, []ice.Candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, mappedTimeout)
	defer cancel()
	listen := m.plane.udp()
	mapped, err := m.reflector.Mapped(ctx)
	if err != nil {
		// What is on the same network is found all the same.
		m.log.Debug().Err(err).Msg("offer without the view of a STUN server")
	}
	ours, err := ice.Gather(listen, mapped)
	if err != nil {
		return nil, nil, fmt.Errorf("own addresses: %w", err)
	}
	agent, err := m.hub.NewAgent(listen, m.log)
	return agent, ours, err
}

// sudph brings a SUDPH link to pk up: by an offer, or by the peer's where that counts. It
// leaves no link behind that is not up.
func (m *Manager) sudph(ctx context.Context, pk cipher.PubKey) error {
	p := newPunch(ctx, pk, true)
	if other := m.enter(p); other != nil {
		p.cancel(nil)
		return m.join(ctx, pk)
	}
	err := m.offer(p)
	m.leave(p)
	var r *refusal
	if errors.As(err, &r) && r.code == codeGlare || errors.Is(context.Cause(p.ctx), errGlare) {
		return m.join(ctx, pk)
	}
	return err
}

// offer makes an offer and, with its answer, the link.
func (m *Manager) offer(p *punch) error {
	agent, ours, err := m.prepare(p.ctx)
	if err != nil {
		return err
	}
	defer agent.Close()
	ctx, cancel := context.WithTimeout(p.ctx, exchangeTimeout)
	defer cancel()
	theirs, err := m.exchange(ctx, p.pk, agent.Describe(ours))
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(p.ctx, punchTimeout)
	defer cancel()
	theirs.Candidates = ice.Admit(theirs.Candidates, ours)
	addr, err := agent.Punch(ctx, true, theirs)
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(p.ctx, linkTimeout)
	defer cancel()
	return m.connect(ctx, p.pk, link.SUDPH, addr)
}

// join waits for what comes of a punch that somebody else has begun: of one that is about
// to arrive, too.
func (m *Manager) join(ctx context.Context, pk cipher.PubKey) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout+punchTimeout)
	defer cancel()
	seen := false
	for {
		m.mu.Lock()
		up, p, news := m.isUp(pk, link.SUDPH), m.punches[pk], m.news
		m.mu.Unlock()
		switch {
		case up:
			return nil
		case p == nil && seen:
			return errors.New("the other visor's attempt came to nothing")
		case p != nil:
			seen = true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("the other visor's attempt took too long: %w", context.Cause(ctx))
		}
	}
}

// wanted reports whether a user, or the settings, want a link to pk.
func (m *Manager) wanted(pk cipher.PubKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, typ := range []link.Type{0, link.STCPR, link.SUDPH, link.DMSG} {
		if s := m.wants[want{pk, typ}]; s != nil && (s.user || s.persistent) {
			return true
		}
	}
	return false
}

// answer begins a punch that pk has offered, or says why it does not.
func (m *Manager) answer(pk cipher.PubKey) (a *answer, code, text string) {
	if !m.plane.udp().IsValid() {
		return nil, codeBusy, "this visor does not use UDP"
	}
	p := newPunch(m.life, pk, false)
	if m.enter(p) != nil {
		p.cancel(nil)
		return nil, codeGlare, "our own offer counts"
	}
	agent, ours, err := m.prepare(p.ctx)
	if err != nil {
		m.leave(p)
		return nil, codeBusy, "too many attempts at once, or no addresses"
	}
	if m.wanted(pk) {
		// Others come in only where the engine's policy takes them: keys of strangers must
		// not pile up there.
		m.plane.expect(pk, true)
	}
	m.mu.Lock()
	check := m.isUp(pk, link.SUDPH) && time.Since(m.offered) >= offerChecks
	if check {
		m.offered = time.Now()
	}
	m.mu.Unlock()
	if check {
		m.plane.check(checkWithin) // whoever makes an offer has lost his end of the link
	}
	return &answer{p, agent, ours}, "", ""
}

// finishAnswer runs the checks and waits for the link, for which the agent stays open; said
// is why the answer could not be sent.
func (m *Manager) finishAnswer(a *answer, theirs ice.Description, said error) {
	defer m.leave(a.punch)
	defer a.agent.Close()
	err := said
	if err == nil {
		ctx, cancel := context.WithTimeout(a.ctx, punchTimeout)
		defer cancel()
		theirs.Candidates = ice.Admit(theirs.Candidates, a.ours)
		_, err = a.agent.Punch(ctx, false, theirs)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(a.ctx, linkTimeout)
		defer cancel()
		err = m.await(ctx, a.pk, link.SUDPH)
	}
	if err != nil {
		m.log.Debug().Err(err).Stringer("pk", a.pk).Msg("the offer of a hole came to nothing")
	}
}
