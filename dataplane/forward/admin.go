package forward

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/packet"
)

// AddRule adds a forwarding rule and returns its label. It works whether or not the
// neighbours are connected.
//
// Errors: ErrTransitOff, ErrTooManyRules, ErrBadLabel, ErrLabelTaken, ErrNoLabel,
// ErrSamePeer, and those of keys.
func (e *Engine) AddRule(s RuleSpec) (packet.Label, error) {
	if !e.cfg.Transit.Allow {
		return 0, ErrTransitOff
	}
	if err := e.checkPath(s); err != nil {
		return 0, err
	}
	if s.OutLabel == packet.LabelLink { // that is the neighbour's link control
		return 0, fmt.Errorf("%w: outgoing label is 0", ErrBadLabel)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if limit := e.cfg.Transit.MaxRoutes; limit > 0 && e.transit >= limit {
		return 0, ErrTooManyRules
	}
	r := &Rule{in: s.In, ttl: s.TTL}
	r.hop = &Egress{to: s.Out, label: s.OutLabel, rule: r}
	if err := e.takeLabel(r, s.InLabel); err != nil {
		return 0, err
	}
	if err := e.ports.addEgress(r.hop); err != nil {
		e.labels.give(r.label)
		return 0, fmt.Errorf("%w: %d at %s", err, s.OutLabel, s.Out)
	}
	e.transit++
	e.publish(r)
	return r.label, nil
}

// AddDeliver adds the end of a route and returns its rule. Errors as AddRule.
func (e *Engine) AddDeliver(s DeliverSpec) (*Rule, error) {
	if err := e.checkNeighbour(s.In); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &Rule{in: s.In, sink: s.Sink, ttl: s.TTL, expired: s.Expired}
	if err := e.takeLabel(r, s.Label); err != nil {
		return nil, err
	}
	e.publish(r)
	return r, nil
}

// AddEgress registers the beginning of a route: packets for it go to the Egress's
// link under label. o hears of route errors. Errors: ErrBadLabel, ErrLabelTaken,
// and those of keys.
func (e *Engine) AddEgress(to Neighbour, label packet.Label, o Origin) (*Egress, error) {
	if err := e.checkNeighbour(to); err != nil {
		return nil, err
	}
	if label == packet.LabelLink {
		return nil, fmt.Errorf("%w: outgoing label is 0", ErrBadLabel)
	}
	g := &Egress{to: to, label: label, origin: o}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.ports.addEgress(g); err != nil {
		return nil, fmt.Errorf("%w: %d at %s", err, label, to)
	}
	return g, nil
}

// RemoveEgress undoes AddEgress. Packets that other goroutines are just sending may
// still leave.
func (e *Engine) RemoveEgress(g *Egress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ports.removeEgress(g)
}

// RemoveRule removes the forwarding or deliver rule that has label; direct labels
// go with their links. Packets of a burst under way may still pass. Error:
// ErrNoRule.
func (e *Engine) RemoveRule(label packet.Label) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.rules[label]
	if r == nil || r.only != nil {
		return fmt.Errorf("%w: label %d", ErrNoRule, label)
	}
	e.removeLocked(r)
	return nil
}

// Rules returns a snapshot of the table, ordered by label.
func (e *Engine) Rules() []RuleInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	infos := make([]RuleInfo, 0, len(e.rules))
	for _, r := range e.rules {
		infos = append(infos, e.info(r))
	}
	slices.SortFunc(infos, func(a, b RuleInfo) int { return cmp.Compare(a.InLabel, b.InLabel) })
	return infos
}

func (e *Engine) info(r *Rule) RuleInfo {
	in := RuleInfo{Op: "deliver", In: r.in, InLabel: r.label, TTL: r.ttl}
	in.Packets, in.Bytes = r.Counters()
	switch {
	case r.only != nil:
		in.Op = "direct"
		if !r.only.up {
			in.Waiting = append(in.Waiting, r.in)
		}
		return in
	case r.hop != nil:
		in.Op, in.Out, in.OutLabel = "forward", r.hop.to, r.hop.label
		if r.hop.port.Load() == nil {
			in.Waiting = append(in.Waiting, r.hop.to)
		}
	}
	if e.ports.best(r.in) == nil {
		in.Waiting = append(in.Waiting, r.in)
	}
	return in
}

// checkPath refuses a path that goes through a key twice, as far as a hop sees it, but
// for one that is to turn.
func (e *Engine) checkPath(s RuleSpec) error {
	if err := e.checkNeighbour(s.In); err != nil {
		return err
	}
	if err := e.checkNeighbour(s.Out); err != nil {
		return err
	}
	if s.In.Peer == s.Out.Peer && !s.Turn {
		return fmt.Errorf("%w: %s is on both sides", ErrSamePeer, s.In.Peer)
	}
	return nil
}

func (e *Engine) checkNeighbour(n Neighbour) error {
	if err := n.Peer.Validate(); err != nil {
		return fmt.Errorf("forward: neighbour: %w", err)
	}
	if n.Peer == e.cfg.PubKey {
		return fmt.Errorf("%w: %s is this visor", ErrSamePeer, n.Peer)
	}
	return nil
}

// takeLabel gives r the static label that an operator chose, the dynamic one that was
// reserved for its neighbour, or with 0 a new one. The caller publishes r or gives the
// label back.
func (e *Engine) takeLabel(r *Rule, label packet.Label) error {
	if label == 0 {
		var ok bool
		if r.label, ok = e.labels.take(); !ok {
			return ErrNoLabel
		}
		return nil
	}
	if e.rules[label] != nil {
		return fmt.Errorf("%w: %d", ErrLabelTaken, label)
	}
	if label > packet.MaxStaticLabel {
		if err := e.redeem(label, r.in); err != nil {
			return err
		}
	}
	r.label = label
	return nil
}

func (e *Engine) publish(r *Rule) {
	e.rules[r.label] = r
	e.table.Store(r.label.Slot(), r)
}

func (e *Engine) removeLocked(r *Rule) {
	e.table.Store(r.label.Slot(), nil)
	delete(e.rules, r.label)
	e.labels.give(r.label)
	if r.hop != nil {
		e.ports.removeEgress(r.hop)
		e.transit--
	}
}

// Subscribe makes ends the floor above, once, and tells it of the links that there
// are already.
func (e *Engine) Subscribe(ends Ends) {
	e.notify.Lock()
	defer e.notify.Unlock()
	e.ends = ends
	e.mu.Lock()
	var all []*port
	for _, of := range e.ports.byPeer {
		all = append(all, of...)
	}
	e.mu.Unlock()
	for _, p := range all {
		e.bind(p)
		e.mu.Lock()
		up := p.up
		e.mu.Unlock()
		if up {
			ends.LinkUp(p.link)
		}
	}
}

// Attach gives the link its direct label. See link.Handler.
func (e *Engine) Attach(l *link.Link) packet.Label {
	return e.attach(&port{link: l, out: l, peer: l.Peer(), typ: l.Type()})
}

func (e *Engine) attach(p *port) packet.Label {
	e.notify.Lock()
	defer e.notify.Unlock()
	e.mu.Lock()
	r := &Rule{in: Neighbour{Peer: p.peer, Type: p.typ}, only: p}
	if err := e.takeLabel(r, 0); err != nil {
		e.mu.Unlock()
		return 0 // a million rules: this neighbour gets no direct packets
	}
	p.direct = r.label
	e.ports.add(p)
	e.publish(r)
	e.mu.Unlock()
	e.links.Store(p.link, p)
	if e.ends != nil {
		e.bind(p)
	}
	return p.direct
}

// bind asks the floor above for the sink of a direct label. The caller holds
// notify.
func (e *Engine) bind(p *port) {
	sink := e.ends.Attached(p.link)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.publish(&Rule{label: p.direct, in: Neighbour{Peer: p.peer, Type: p.typ}, only: p, sink: sink})
}

// Detach forgets the link. See link.Handler.
func (e *Engine) Detach(l *link.Link) {
	e.notify.Lock()
	defer e.notify.Unlock()
	v, ok := e.links.LoadAndDelete(l)
	if !ok {
		return
	}
	p := v.(*port)
	e.mu.Lock()
	p.up = false
	e.ports.remove(p)
	e.ports.resolve(p.peer)
	e.removeLocked(e.rules[p.direct])
	e.mu.Unlock()
	if e.ends != nil {
		e.ends.Detached(l)
	}
}

// LinkUp points rules at the link. See link.Handler.
func (e *Engine) LinkUp(l *link.Link) {
	e.notify.Lock()
	defer e.notify.Unlock()
	if e.setUp(l, true) && e.ends != nil {
		e.ends.LinkUp(l)
	}
}

// LinkDown points rules away from the link. See link.Handler.
func (e *Engine) LinkDown(l *link.Link, err error) {
	e.notify.Lock()
	defer e.notify.Unlock()
	if e.setUp(l, false) && e.ends != nil {
		e.ends.LinkDown(l, err)
	}
}

func (e *Engine) setUp(l *link.Link, up bool) bool {
	v, ok := e.links.Load(l)
	if !ok {
		return false
	}
	p := v.(*port)
	e.mu.Lock()
	defer e.mu.Unlock()
	p.up = up
	e.ports.resolve(p.peer)
	return true
}
