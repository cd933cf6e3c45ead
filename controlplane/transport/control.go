package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// parseType reads the name of a type; "" is 0, any.
func parseType(typ string) (link.Type, error) {
	if typ == "" {
		return 0, nil
	}
	t, err := link.ParseType(typ)
	if err != nil {
		return 0, fmt.Errorf("%w, not %.20q", ErrType, typ)
	}
	return t, nil
}

// errLabel refuses a label.
var errLabel = fmt.Errorf("transport: a label has up to %d of a-z, 0-9, - and _", maxLabel)

// Apply replaces the settings. What is not persistent any more stays until it is lost.
//
// Errors: a persistent transport of no known type, or to this visor, or with a bad label; an
// address in the table that is none. Nothing changes then.
func (m *Manager) Apply(s Settings) error {
	var errs []error
	for _, p := range s.Persistent {
		if _, err := parseType(p.Type); err != nil {
			errs = append(errs, err)
		}
		if p.PK == m.pk {
			errs = append(errs, ErrSelf)
		}
	}
	for _, p := range s.Persistent {
		if !isLabel(p.Label) {
			errs = append(errs, errLabel)
		}
	}
	for pk, addr := range s.Table {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			errs = append(errs, fmt.Errorf("transport: address of %s in the table: %w", pk, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.apply(s)
	return nil
}

// apply is Apply for settings that are valid; others are left out.
func (m *Manager) apply(s Settings) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = s
	persistent := map[want]Wanted{}
	for _, p := range s.Persistent {
		if typ, err := parseType(p.Type); err == nil && p.PK != m.pk {
			persistent[want{p.PK, typ}] = p
		}
	}
	for w, st := range m.wants {
		if _, ok := persistent[w]; !ok && st.persistent {
			st.persistent, st.demand = false, true
		}
		if !s.Auto {
			st.auto = false
		}
	}
	for w, p := range persistent {
		st := m.wants[w]
		if st == nil {
			st = &wanted{}
			m.wants[w] = st
		}
		st.persistent, st.label = true, cmp.Or(p.Label, LabelUser)
	}
	for _, d := range m.members {
		d.kick()
		poke(d.lack)
	}
	m.shout()
}

// Add sets up a transport of that type, "" for whatever works, as Ensure does, and waits
// for it. It is kept until Remove.
//
// Errors: those of Ensure; ErrExists, ErrType. A persistent one is kept whatever the
// error, unless that is ErrExists, ErrType or ErrSelf.
func (m *Manager) Add(ctx context.Context, pk cipher.PubKey, typ string, o Options) (Info, error) {
	t, err := parseType(typ)
	switch {
	case err != nil:
		return Info{}, err
	case pk == m.pk:
		return Info{}, ErrSelf
	case pk.Validate() != nil:
		return Info{}, fmt.Errorf("transport: %w", pk.Validate())
	case !isLabel(o.Label):
		return Info{}, errLabel
	case o.Addr != "" && t != link.STCPR:
		return Info{}, errors.New("transport: only a transport of type stcpr has an address")
	}
	if o.Addr != "" {
		if _, _, err := net.SplitHostPort(o.Addr); err != nil {
			return Info{}, fmt.Errorf("transport: %w", err)
		}
	}
	w := want{pk, t}
	m.mu.Lock()
	st := m.wants[w]
	if st != nil && (st.user || st.persistent) {
		m.mu.Unlock()
		return Info{}, fmt.Errorf("%w: %s to %s", ErrExists, cmp.Or(typ, "any"), pk)
	}
	fresh := st == nil
	if fresh {
		st = &wanted{next: time.Now().Add(ensureTimeout)} // this call is the first attempt
		m.wants[w] = st
	}
	st.user, st.persistent, st.addr, st.label = true, o.Persistent, o.Addr, cmp.Or(o.Label, LabelUser)
	m.mu.Unlock()
	m.plane.expect(pk, true)
	if err := m.ensure(ctx, pk, t, t != 0); err != nil {
		if !o.Persistent {
			m.mu.Lock()
			if st.user = false; fresh {
				delete(m.wants, w)
			}
			m.mu.Unlock()
			if t != 0 {
				m.plane.drop(pk, t)
			}
		}
		return Info{}, err
	}
	for _, i := range m.List() {
		if i.PK == pk && i.State == StateUp && (typ == "" || i.Type == typ) {
			return i, nil
		}
	}
	return Info{}, fmt.Errorf("%w: the link to %s went down at once", ErrNoWay, pk)
}

// Remove ends a transport, and takes it out of the deployments.
//
// Errors: ErrNotFound.
func (m *Manager) Remove(id deployment.TransportID) error {
	for _, i := range m.List() {
		if i.ID == id {
			return m.RemovePeer(i.PK, i.Type)
		}
	}
	return fmt.Errorf("%w: %s", ErrNotFound, id)
}

// RemovePeer ends the transports of that type to pk, all of them if typ is "".
//
// Errors: ErrNotFound, ErrType.
func (m *Manager) RemovePeer(pk cipher.PubKey, typ string) error {
	only, err := parseType(typ)
	if err != nil {
		return err
	}
	found := false
	var gone []key
	m.mu.Lock()
	for _, t := range []link.Type{link.STCPR, link.SUDPH, link.DMSG} {
		if only != 0 && t != only {
			continue
		}
		k := key{pk, t}
		if m.transports[k] != nil || m.wants[want{pk, t}] != nil {
			found = true
		}
		delete(m.transports, k)
		delete(m.wants, want{pk, t})
		gone = append(gone, k)
	}
	// What wanted any link would bring it back.
	if up, _ := m.anyUp(pk); !up && m.wants[want{pk, 0}] != nil {
		found = true
		delete(m.wants, want{pk, 0})
	}
	for _, d := range m.members {
		d.kick()
	}
	m.shout()
	m.mu.Unlock()
	m.plane.expect(pk, false)
	for _, k := range gone {
		m.plane.drop(k.pk, k.typ)
	}
	if !found {
		return fmt.Errorf("%w: to %s", ErrNotFound, pk)
	}
	return nil
}

// List returns the transports, by key and type.
func (m *Manager) List() []Info {
	if m.plane == nil {
		return nil
	}
	links := map[key]link.Info{}
	for _, l := range m.plane.look() {
		links[key{l.Peer, l.Type}] = l
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Info, 0, len(m.transports))
	for k, t := range m.transports {
		all = append(all, m.info(t, links[k]))
	}
	for w, s := range m.wants {
		k := key(w)
		if up, _ := m.anyUp(w.pk); m.transports[k] != nil || w.typ == 0 && (up || !s.user && !s.persistent) {
			continue
		}
		all = append(all, Info{
			ID: deployment.NewTransportID(m.pk, w.pk, typeName(w.typ)), PK: w.pk, Type: typeName(w.typ), Label: s.label,
			State: StateConnecting, LastError: links[k].LastError, Persistent: s.persistent, Auto: s.auto,
		})
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Or(a.PK.Compare(b.PK), cmp.Compare(a.Type, b.Type)) })
	return all
}

func typeName(t link.Type) string {
	if t == 0 {
		return ""
	}
	return t.String()
}

// info describes t. mu is held.
func (m *Manager) info(t *transport, l link.Info) Info {
	i := Info{
		ID: t.id, PK: t.pk, Type: t.typ.String(), Label: t.label, State: StateDown, Addr: l.Addr, Inbound: !t.outbound,
		Why: t.why, RTT: l.RTT, LossPPM: l.LossPPM, Mbps: l.Mbps, SentBytes: l.TxBytes, RecvBytes: l.RxBytes, LastError: l.LastError,
	}
	if w := m.wants[want(t.key)]; w != nil {
		i.Label, i.Persistent, i.Auto = cmp.Or(i.Label, w.label), w.persistent, w.auto
	} else if w := m.wants[want{t.pk, 0}]; w != nil {
		i.Label, i.Persistent = cmp.Or(i.Label, w.label), w.persistent
	}
	i.Label = cmp.Or(i.Label, LabelUser)
	switch {
	case t.up:
		i.State, i.Since = StateUp, t.since
	case t.outbound, m.keeps(t.pk, t.typ):
		i.State = StateConnecting
	}
	if i.LastError == "" && t.err != nil && !t.up {
		i.LastError = t.err.Error()
	}
	for _, d := range m.members {
		if t.signed[d] != nil {
			i.Deployments = append(i.Deployments, d.ID)
		}
	}
	i.Registered = len(i.Deployments) > 0
	for _, d := range m.members {
		if t.signed[d] != nil && !d.registered[t.id] {
			i.Registered = false
			i.Why = cmp.Or(i.Why, d.trouble())
		}
	}
	if i.Registered {
		i.Why = ""
	}
	return i
}

// Members says how the visor stands with its deployments.
func (m *Manager) Members() []MemberInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []MemberInfo
	for _, d := range m.members {
		all = append(all, MemberInfo{
			ID: d.ID, Name: d.Name, Transports: len(d.registered), Heartbeat: d.beaten, Quarantined: d.quarantined,
			TPDError: text(d.tpdErr), Bound: d.bound, ARError: text(d.arErr), SDError: text(d.sdErr), Listed: d.listed,
		})
	}
	return all
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
